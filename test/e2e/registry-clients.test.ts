import { afterAll, beforeAll } from 'vitest'
import { bootControlPlane, type TestControlPlane } from '#test/support/control-plane.ts'
import { describeRegistryClients } from './registry-clients.contract.ts'

let controlPlane: TestControlPlane

beforeAll(async () => {
  controlPlane = await bootControlPlane()
})
afterAll(async () => {
  await controlPlane?.[Symbol.asyncDispose]()
})

describeRegistryClients(() => controlPlane)
