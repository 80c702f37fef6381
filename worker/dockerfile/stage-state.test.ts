import { expect, test } from 'vitest'
import { DEFAULT_ENV, firstState, variablesOf, withEnv } from './stage-state.ts'

test('an image without a base has a PATH, and one with a base what that has', () => {
  expect(firstState(undefined).config.Env).toEqual(DEFAULT_ENV)
  expect(firstState({ Env: ['A=1'] }).config.Env).toEqual(['A=1'])
})

test('a variable keeps its place when its value changes, and the state before it stays', () => {
  const before = firstState({ Env: ['A=1', 'B=x=y'] })
  const after = withEnv(before, [
    ['A', '2'],
    ['C', ''],
  ])
  expect(after.config.Env).toEqual(['A=2', 'B=x=y', 'C='])
  expect(before.config.Env).toEqual(['A=1', 'B=x=y'])
})

test('ENV wins over ARG', () => {
  const state = { ...firstState({ Env: ['A=env'] }), args: new Map([['A', 'arg']]) }
  expect(variablesOf(state).get('A')).toBe('env')
})
