import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { untilAborted, withinDeadline } from './deadline.ts'

const never = new AbortController().signal
const slow = (signal: AbortSignal) => setTimeout(10_000, 'done', { signal })

test('what outlives its deadline fails the step, naming the deadline', async () => {
  const fault = await withinDeadline(6, never, slow).catch((error: unknown) => error)
  expect(fault).toMatchObject({ code: 'build.step-failed', facts: { deadlineMs: 6 } })
})

test('a cancel and a failure before the deadline stay what they are', async () => {
  const canceled = AbortSignal.abort(new Error('canceled'))
  await expect(withinDeadline(60_000, canceled, slow)).rejects.toMatchObject({ name: 'AbortError' })
  await expect(withinDeadline(60_000, never, () => Promise.reject(new Error('other')))).rejects.toThrow('other')
  expect(await withinDeadline(60_000, never, async () => 1)).toBe(1)
})

test('a wait ends with its signal, before or during it', async () => {
  const endless = new Promise<never>(() => {})
  await expect(untilAborted(endless, AbortSignal.abort(new Error('canceled')))).rejects.toThrow('canceled')
  const cancel = new AbortController()
  const wait = untilAborted(endless, cancel.signal)
  cancel.abort(new Error('canceled'))
  await expect(wait).rejects.toThrow('canceled')
  expect(await untilAborted(Promise.resolve(1), never)).toBe(1)
})
