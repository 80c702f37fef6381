import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openTurns } from './turns.ts'

test('work of one name goes one after the other, that of others at once; a failure holds nothing up', async () => {
  const turns = openTurns()
  const gate = Promise.withResolvers<void>()
  const said: string[] = []
  const first = turns.take('a', async hasWaited => {
    said.push(`first ${hasWaited}`)
    await gate.promise
    throw new Error('failed')
  })
  const second = turns.take('a', async hasWaited => void said.push(`second ${hasWaited}`))
  await turns.take('b', async hasWaited => void said.push(`other ${hasWaited}`))
  gate.resolve()
  await expect(first).rejects.toThrow('failed')
  await second
  await setImmediate()
  await turns.take('a', async hasWaited => void said.push(`third ${hasWaited}`))
  expect(said).toEqual(['first false', 'other false', 'second true', 'third false'])
})

test('one that gives up waiting is gone at once, and lets nobody go ahead of the one before', async () => {
  const turns = openTurns()
  const gate = Promise.withResolvers<void>()
  const said: string[] = []
  const cancel = new AbortController()
  const first = turns.take('a', async () => {
    await gate.promise
    said.push('first')
  })
  const second = turns.take('a', async () => void said.push('second'), cancel.signal)
  const third = turns.take('a', async () => void said.push('third'))
  cancel.abort(new Error('canceled'))
  await expect(second).rejects.toThrow('canceled')
  expect(turns.isTaken('a')).toBe(true)
  gate.resolve()
  await Promise.all([first, third])
  await setImmediate()
  expect(said).toEqual(['first', 'third'])
  expect(turns.isTaken('a')).toBe(false)
})
