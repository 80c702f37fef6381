import { expect, test } from 'vitest'
import { turns } from './turns.ts'

test('tasks of one key come one after another, a failed one holds up nobody, and those of others come beside', async () => {
  const inTurn = turns()
  const said: string[] = []
  const gate = Promise.withResolvers<void>()
  const first = inTurn('a', async () => {
    await gate.promise
    said.push('first')
    throw new Error('failed')
  })
  const second = inTurn('a', async () => void said.push('second'))
  await inTurn('b', async () => void said.push('beside'))
  gate.resolve()
  await expect(first).rejects.toThrow('failed')
  await second
  expect(said).toEqual(['beside', 'first', 'second'])
})
