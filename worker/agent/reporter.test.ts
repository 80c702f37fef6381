import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { ObservedContainer } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import type { Report } from '#shared/protocol/agent.ts'
import { createReporter } from './reporter.ts'

const seen = (id: string): ObservedContainer => ({
  ...{ id: id as ContainerId, generation: 1, observedAt: 1, restarts: 0, status: { state: 'created' } },
})

/** Runs a reporter of these containers against an API that answers with `answer`, until `enough` are taken. */
async function report(ids: readonly string[], enough: number, answer: (report: Report, call: number) => void) {
  const stopping = new AbortController()
  const taken: string[] = []
  const reports: Report[] = []
  const reporter = createReporter({
    api: {
      report: async sent => {
        reports.push(sent)
        answer(sent, reports.length)
      },
    },
    ...{ clock: systemClock, log: pino({ level: 'silent' }), generation: () => 7 },
    facts: () => Promise.reject(new Error('not asked for')),
    onTaken: containers => {
      taken.push(...containers.map(({ id }) => id))
      if (taken.length >= enough) stopping.abort()
    },
    areFactsDue: false,
  })
  for (const id of ids) reporter.container(seen(id))
  await reporter.run(AbortSignal.any([stopping.signal, AbortSignal.timeout(5000)]))
  return { taken, reports }
}

test('one state that the API refuses is dropped, and all others arrive', async () => {
  const ids = Array.from({ length: 20 }, (_, at) => `c${at}`)
  const { taken, reports } = await report(ids, 19, ({ containers }) => {
    if (containers.some(({ id }) => id === 'c13')) throw new SlipwayError('request.invalid', 'c13 is wrong')
  })
  expect(taken).toEqual(ids.filter(id => id !== 'c13'))
  expect(reports.length).toBeLessThan(12)
})

test.each(['store.unavailable', 'auth.token-invalid', 'host.unreachable'] as const)(
  'a report that meets %s is sent again, whole',
  async code => {
    const { reports } = await report(['a', 'b'], 2, (_, call) => {
      if (call === 1) throw new SlipwayError(code, 'later')
    })
    expect(reports.map(({ containers }) => containers.length)).toEqual([2, 2])
  },
)
