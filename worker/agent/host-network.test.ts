import { expect, test } from 'vitest'
import { createHostNetwork } from './host-network.ts'

const wanted = { subnet: '10.0.0.0/24', gateway: '10.0.0.1', prefixLength: 24 }

test('callers at the same time share one attempt, and a failure is logged and tried anew', async () => {
  const attempts: PromiseWithResolvers<void>[] = []
  const errors: unknown[] = []
  const ensure = createHostNetwork({
    driver: {
      ensureHost: () => {
        const attempt = Promise.withResolvers<void>()
        attempts.push(attempt)
        return attempt.promise
      },
    },
    network: () => wanted,
    log: { error: (...said: unknown[]) => void errors.push(said) },
  })
  const both = [ensure(), ensure()]
  expect(attempts.length).toBe(1)
  attempts[0]?.reject(new Error('no nft'))
  await Promise.all(both)
  expect(errors.length).toBe(1)
  const later = ensure()
  expect(attempts.length).toBe(2)
  attempts[1]?.resolve()
  await later
  expect(errors.length).toBe(1)
})

test('a host that was told of no network has nothing to do', async () => {
  const ensure = createHostNetwork({
    driver: { ensureHost: () => Promise.reject(new Error('not asked for')) },
    network: () => undefined,
    log: { error: (said: unknown) => expect.unreachable(String(said)) },
  })
  await ensure()
})
