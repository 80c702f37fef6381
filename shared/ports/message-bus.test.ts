import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTcp } from 'nats'
import { connect as connectWs } from 'nats.ws'
import { afterAll, beforeAll } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import { freePort } from '#test/support/slipway.ts'
import { describeMessageBus, describeUnreachable, describeWorkQueue } from './message-bus.contract.ts'
import { fakeMessageBus } from './message-bus.fake.ts'
import type { MessageBus } from './message-bus.ts'
import { natsTcpBus } from './nats-tcp.ts'
import { natsWsBus } from './nats-ws.ts'

const who = { user: undefined, password: undefined }
const folder = mkdtempSync(join(tmpdir(), 'slipway-nats-'))
const port = await freePort()
const wsPort = await freePort()
const nobody = await freePort()
writeFileSync(
  join(folder, 'nats.conf'),
  `listen: "127.0.0.1:${port}"\nwebsocket { listen: "127.0.0.1:${wsPort}", no_tls: true }\njetstream { store_dir: "${folder}" }\n`,
)
const server = spawn('nats-server', ['-c', join(folder, 'nats.conf')], { stdio: 'ignore' })
const tcp = (at = port) => natsTcpBus(connectTcp, { ...who, url: `nats://127.0.0.1:${at}`, name: 'test' })
const ws = (at = wsPort) => natsWsBus(connectWs, { ...who, url: `ws://127.0.0.1:${at}` })

async function ready(bus: MessageBus): Promise<MessageBus> {
  const isReached = () =>
    bus.publish('slipway.hello', new Uint8Array()).then(
      () => true,
      () => false,
    )
  if (!(await waitUntil(isReached, 10_000))) throw new Error('nats-server did not come up')
  return bus
}

beforeAll(async () => {
  const first = await ready(tcp())
  await first.close()
}, 15_000)
afterAll(async () => {
  const gone = new Promise(resolve => server.once('exit', resolve))
  server.kill('SIGTERM')
  await gone
  rmSync(folder, { recursive: true, force: true })
})

describeMessageBus('fake', async () => {
  const bus = fakeMessageBus()
  return [bus, bus]
})
describeWorkQueue('fake', async () => {
  const bus = fakeMessageBus()
  return [bus, bus]
})
describeWorkQueue('tcp', async () => [await ready(tcp()), await ready(tcp())])
describeWorkQueue('ws', async () => [await ready(ws()), await ready(ws())])
describeMessageBus('NATS over TCP', async () => [await ready(tcp()), await ready(tcp())])
describeMessageBus('NATS over WebSocket', async () => [await ready(ws()), await ready(ws())])
describeUnreachable('NATS over TCP', () => tcp(nobody))
describeUnreachable('NATS over WebSocket', () => ws(nobody))
