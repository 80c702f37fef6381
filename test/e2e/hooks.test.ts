import { afterAll, beforeAll, expect } from 'vitest'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'
import { describeHooks } from './hooks.contract.ts'

let slipway: TestSlipway

beforeAll(async () => {
  slipway = await bootWithBusybox('e2ehooks')
})
afterAll(async () => {
  expect(await slipway?.remove()).toEqual([])
})

describeHooks(() => slipway)
