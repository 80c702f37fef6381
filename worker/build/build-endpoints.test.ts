import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openBuildEndpoints } from './build-endpoints.ts'

const NETWORK = { gateway: '10.1.2.1', prefixLength: 24 }
const never = new AbortController().signal

test('fifteen at a time have addresses of their own; those who come then wait, and can give up', async () => {
  const endpoints = openBuildEndpoints(() => NETWORK as never)
  const taken = await Promise.all(Array.from({ length: 15 }, () => endpoints.take(never)))
  expect(new Set(taken.map(({ endpoint }) => endpoint.address)).size).toBe(15)
  const cancel = new AbortController()
  const givesUp = endpoints.take(cancel.signal)
  const got: string[] = []
  const waits = endpoints.take(never).then(({ endpoint }) => got.push(endpoint.address))
  cancel.abort(new Error('canceled'))
  await expect(givesUp).rejects.toThrow('canceled')
  await setImmediate()
  expect(got).toEqual([])
  taken[3]?.[Symbol.dispose]()
  await waits
  expect(got).toEqual([taken[3]?.endpoint.address])
})
