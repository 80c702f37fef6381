import { setTimeout } from 'node:timers/promises'
import PQueue from 'p-queue'
import { expect, test } from 'vitest'
import { inSlot } from './in-slot.ts'

test('work that is canceled unwinds before its turn is over; what has not begun never does', async () => {
  const slots = new PQueue({ concurrency: 1 })
  const cancel = new AbortController()
  const said: string[] = []
  const first = inSlot(slots, cancel.signal, async () => {
    await setTimeout(10_000, undefined, { signal: cancel.signal }).catch(() => {})
    await setTimeout(20)
    said.push('unwound')
    throw new Error('of the work')
  })
  const second = inSlot(slots, cancel.signal, async () => said.push('begun'))
  await setTimeout(1)
  cancel.abort(new Error('canceled'))
  const ends = await Promise.allSettled([first, second])
  expect(ends.map(end => end.status === 'rejected' && end.reason.message)).toEqual(['canceled', 'canceled'])
  expect(said).toEqual(['unwound'])
  expect(await inSlot(slots, new AbortController().signal, async () => 1)).toBe(1)
})
