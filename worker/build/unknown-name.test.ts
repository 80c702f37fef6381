import { expect, test } from 'vitest'
import { SlipwayError, toFault } from '#shared/errors.ts'
import { unknownName } from './unknown-name.ts'

const known = { stages: ['build', 'test'], contexts: ['assets'] }
const away = new SlipwayError('upstream.unreachable', 'docker.io does not answer: try again later.')
const messageOf = (name: string, names = known) => toFault(unknownName(away, name, names)).message

test('a name that is near one that is there: that one first, and then what the registry said', () => {
  const message =
    'No stage and no context is called biuld: did you mean build? (The stages here are build, test, the named contexts assets.) ' +
    'It was looked for as an image, too: docker.io does not answer: try again later.'
  expect(messageOf('biuld')).toBe(message)
  expect(messageOf('asets')).toContain('did you mean assets?')
  expect(toFault(unknownName(away, 'Biuld', known)).facts).toMatchObject({ name: 'Biuld', nearest: 'build' })
})

test('a name that is near nothing may be an image: the registry first, and then what there is', () => {
  expect(messageOf('debian', { stages: [], contexts: [] })).toBe(
    'docker.io does not answer: try again later. No stage and no context is called debian, either: the stages here are none, the named contexts none.',
  )
})

test('what can be an image alone, and what is no fault of an image, stay as they are', () => {
  expect(unknownName(away, 'docker.io/library/debian:12', known)).toBe(away)
  const full = new SlipwayError('host.disk-full', 'full')
  expect(unknownName(full, 'biuld', known)).toBe(full)
  expect(unknownName(away, 'assets', known)).toBe(away)
})

test('what is listed is bounded', () => {
  const stages = Array.from({ length: 100 }, (_, at) => `stage-number-${at}`)
  expect(messageOf('x', { stages, contexts: [] })).toMatch(/stage-number-19 and 80 more/)
})
