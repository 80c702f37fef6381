import { toFault } from '#shared/errors.ts'
import { bridgeDriver } from '#worker/network/bridge-driver.ts'
import type { NetworkDriver } from '#worker/network/network-driver.ts'

/** A driver on the host whose namespaces this process was started in; called over the channel of `fork`. */

export type DriverCall = {
  [K in keyof NetworkDriver]: { method: K; args: Parameters<NetworkDriver[K]> }
}[keyof NetworkDriver]

const [instance = '', runFolder = '', buildReach] = process.argv.slice(2)
const driver = bridgeDriver({ instance, runFolder, buildReach: buildReach === 'public' ? 'public' : 'private' })

process.on('message', async ({ id, call }: { id: number; call: DriverCall }) => {
  try {
    process.send?.({ id, value: await answer(call) })
  } catch (error) {
    process.send?.({ id, error: toFault(error) })
  }
})

async function answer(call: DriverCall): Promise<unknown> {
  switch (call.method) {
    case 'ensureHost':
      return driver.ensureHost(...call.args)
    case 'attach':
      return driver.attach(...call.args)
    case 'detach':
      return driver.detach(...call.args)
    case 'isAttached':
      return driver.isAttached(...call.args)
    case 'list':
      return driver.list()
    case 'removeHost':
      return driver.removeHost()
  }
}
