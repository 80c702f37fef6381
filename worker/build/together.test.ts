import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { together } from './together.ts'

const never = new AbortController().signal
const aborted = (signal: AbortSignal) =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))

test('one that fails stops the others, and its error is the one that is told', async () => {
  let hasStopped = false
  const all = together(never, async ({ begin, signal }) => {
    begin(() => aborted(signal)).catch(() => {
      hasStopped = true
    })
    begin(async () => {
      await setImmediate()
      throw new Error('first')
    }).catch(() => {})
    await aborted(signal)
  })
  await expect(all).rejects.toThrow('first')
  expect(hasStopped).toBe(true)
})

test('nothing runs any more once it is over, however it ended', async () => {
  let isRunning = true
  const slow = async () => {
    for (let at = 0; at < 20; at++) await setImmediate()
    isRunning = false
  }
  const all = together(never, async ({ begin }) => {
    begin(slow)
    throw new Error('at once')
  })
  await expect(all).rejects.toThrow('at once')
  expect(isRunning).toBe(false)
})

test('a failure of what nobody waits for is told', async () => {
  const all = together(never, async ({ begin }) => {
    begin(async () => {
      await setImmediate()
      throw new Error('alone')
    }).catch(() => {})
    return 'done'
  })
  await expect(all).rejects.toThrow('alone')
  await expect(together(never, async () => 'done')).resolves.toBe('done')
})

test('a cancel from outside reaches what runs', async () => {
  const cancel = new AbortController()
  const all = together(cancel.signal, ({ signal }) => aborted(signal))
  cancel.abort(new Error('canceled'))
  await expect(all).rejects.toThrow('canceled')
})
