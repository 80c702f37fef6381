import { afterAll, beforeAll, expect } from 'vitest'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'
import { describeExec } from './exec.contract.ts'

let slipway: TestSlipway

beforeAll(async () => {
  slipway = await bootWithBusybox('e2eexec')
})
afterAll(async () => {
  expect(await slipway?.remove()).toEqual([])
})

describeExec(() => slipway)
