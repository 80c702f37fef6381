import { setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { untilAborted, withinLimits } from './deadline.ts'

const never = new AbortController().signal
const slow = (signal: AbortSignal) => setTimeout(10_000, 'done', { signal })

test('a wait ends with its signal, before or during it', async () => {
  const endless = new Promise<never>(() => {})
  await expect(untilAborted(endless, AbortSignal.abort(new Error('canceled')))).rejects.toThrow('canceled')
  const cancel = new AbortController()
  const wait = untilAborted(endless, cancel.signal)
  cancel.abort(new Error('canceled'))
  await expect(wait).rejects.toThrow('canceled')
  expect(await untilAborted(Promise.resolve(1), never)).toBe(1)
})

describe('limits of a whole build', () => {
  const limits = {
    timeoutMs: undefined,
    diskBytes: undefined,
    measure: async () => 0,
    requireReserve: () => {},
    clock: systemClock,
  }

  test('time and disk end it, each with its code', async () => {
    const late = withinLimits({ ...limits, timeoutMs: 5 }, never, slow)
    await expect(late).rejects.toMatchObject({ code: 'build.timed-out', facts: { timeoutMs: 5 } })
    const clock = { now: () => 0, sleep: async () => {} }
    const requireReserve = () => {
      throw new SlipwayError('host.disk-full', 'full')
    }
    const hostFull = withinLimits({ ...limits, clock: systemClock, requireReserve }, never, slow)
    await expect(hostFull).rejects.toMatchObject({ code: 'host.disk-full' })
    const full = withinLimits({ ...limits, clock, diskBytes: 10, measure: async () => 11 }, never, slow)
    await expect(full).rejects.toMatchObject({ code: 'build.disk-exceeded', facts: { bytes: 11, diskBytes: 10 } })
  })

  test('what keeps to them, a failure and a cancel stay what they are', async () => {
    const kept = { ...limits, timeoutMs: 60_000, diskBytes: 10 }
    expect(await withinLimits(kept, never, async () => 1)).toBe(1)
    await expect(withinLimits(kept, never, () => Promise.reject(new Error('other')))).rejects.toThrow('other')
    const canceled = AbortSignal.abort(new Error('canceled'))
    await expect(withinLimits(kept, canceled, slow)).rejects.toMatchObject({ name: 'AbortError' })
  })
})
