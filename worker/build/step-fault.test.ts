import { lstatSync } from 'node:fs'
import { expect, test } from 'vitest'
import { SlipwayError, toFault } from '#shared/errors.ts'
import { placed, withoutHostPaths } from './step-fault.ts'

const place = { line: 3, column: 1 }

function thrownBy(work: () => unknown): unknown {
  try {
    return work()
  } catch (error) {
    return error
  }
}

test.each(['host.disk-full', 'image.not-found', 'build.step-failed'] as const)('%s gets the line of its step', code => {
  const fault = toFault(placed(new SlipwayError(code, 'It failed.'), place, 'Dockerfile'))
  expect(fault).toEqual({ code, message: 'Dockerfile:3: It failed.', facts: { file: 'Dockerfile', ...place } })
})

test('a file where a folder has to be is a fault of the step, not of the host', () => {
  const refused = new SlipwayError('host.kernel-refused', '/x is no folder.', { facts: { errno: 'ENOTDIR' } })
  expect(placed(refused, place, 'Dockerfile')).toMatchObject({ code: 'build.step-failed', facts: place })
  const thrown = thrownBy(() => lstatSync(`/${'x'.repeat(300)}`))
  expect(placed(thrown, place, 'Dockerfile')).toMatchObject({ code: 'build.step-failed', facts: place })
})

test('a cancel stays what it is, and a place is given once', () => {
  const canceled = new Error('canceled')
  expect(placed(canceled, place, 'Dockerfile')).toBe(canceled)
  const once = placed(new SlipwayError('build.step-failed', 'x'), place, 'Dockerfile')
  expect(placed(once, { line: 9, column: 9 }, 'Dockerfile')).toBe(once)
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
