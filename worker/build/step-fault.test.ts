import { lstatSync } from 'node:fs'
import { expect, test } from 'vitest'
import { SlipwayError, toFault } from '#shared/errors.ts'
import { parseInstructions } from '../dockerfile/dockerfile.ts'
import { placed, withoutHostPaths } from './step-fault.ts'

const place = { line: 3, column: 1 }
const [instruction] = parseInstructions('\n\nCOPY a \\\n b /', 'Dockerfile')
if (!instruction) throw new Error('no instruction')

function thrownBy(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

test.each(['host.disk-full', 'image.not-found', 'build.step-failed'] as const)('%s gets the line of its step', code => {
  const fault = toFault(placed(new SlipwayError(code, 'It failed.'), instruction, 'Dockerfile'))
  expect(fault).toEqual({ code, message: 'Dockerfile:3:1: It failed.', facts: { file: 'Dockerfile', ...place } })
})

test('a fault stands at the part that it is about, and a missing source at its name', () => {
  const missing = new SlipwayError('build.source-not-found', 'b is not there.', { facts: { source: 'b' } })
  const fault = toFault(placed(missing, instruction, 'Dockerfile'))
  expect(fault).toMatchObject({
    message: 'Dockerfile:4:2: b is not there.',
    facts: { line: 4, column: 2, source: 'b' },
  })
  expect(placed(missing, instruction, 'Dockerfile', 'a')).toMatchObject({ facts: { line: 3, column: 6 } })
})

test('a file where a folder has to be is a fault of the step, not of the host', () => {
  const refused = new SlipwayError('host.kernel-refused', '/x is no folder.', { facts: { errno: 'ENOTDIR' } })
  expect(placed(refused, instruction, 'Dockerfile')).toMatchObject({ code: 'build.step-failed', facts: place })
  const thrown = thrownBy(() => lstatSync(`/${'x'.repeat(300)}`))
  expect(placed(thrown, instruction, 'Dockerfile')).toMatchObject({ code: 'build.step-failed', facts: place })
})

test('a cancel stays what it is, and a place is given once', () => {
  const canceled = new Error('canceled')
  expect(placed(canceled, instruction, 'Dockerfile')).toBe(canceled)
  const once = placed(new SlipwayError('build.step-failed', 'x'), instruction, 'Dockerfile')
  expect(placed(once, { ...instruction, line: 9 }, 'Dockerfile')).toBe(once)
  const lost = new SlipwayError('build.cache-lost', 'lost')
  expect(placed(lost, instruction, 'Dockerfile')).toBe(lost)
})

test('paths of the host are not shown', () => {
  const facts = { path: '/host/root/x', args: ['/host/root/x'], exitCode: 1 }
  const error = new SlipwayError('host.kernel-refused', '/host/root/x is no folder: see /host/ctx/y.', { facts })
  expect(toFault(withoutHostPaths(error, ['/host/root', '/host/ctx']))).toEqual({
    code: 'host.kernel-refused',
    message: '/x is no folder: see /y.',
    facts: { path: '/x', exitCode: 1 },
  })
})
