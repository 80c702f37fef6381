import { attachTo } from '#test/support/attach-client.ts'
import { startDocker } from '#test/support/docker-peer.ts'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'
import { busyboxTar } from './busybox-tar.ts'
import { interleave, table } from './measure.ts'

const ROUNDS = Number(process.env.ROUNDS ?? 10)
const BYTES = 200 * 1024 * 1024
const EXEC = '/v1/containers/bench/exec'

/** A short exec to its exit code beside `docker exec`, and how fast bytes come and go over WebSocket, API, NATS and agent. */
export async function execBench(): Promise<void> {
  await using slipway = await bootWithBusybox('bench')
  await using peer = await startDocker()
  await using files = await busyboxTar()
  await peer.docker('import', files.tar, 'busybox:latest')
  await peer.docker('run', '-d', '--name', 'bench', 'busybox', 'sleep', '100000')
  await slipway.api.call('POST', '/v1/containers?wait=running', {
    ...{ image: 'busybox', name: 'bench', command: ['sleep', '100000'] },
  })
  const short = await interleave(
    [
      {
        name: 'slipway: POST …/exec?wait=exited',
        run: async () => void (await slipway.api.call('POST', `${EXEC}?wait=exited`, { command: ['true'] })),
      },
      { name: 'docker exec', run: async () => void (await peer.docker('exec', 'bench', 'true')) },
    ],
    ROUNDS,
  )
  console.log(table(short, 'docker exec'))
  const megabyte = 1024 ** 2
  const ways = [
    { name: 'out of the container', run: () => download(slipway) },
    { name: 'into the container', run: () => upload(slipway) },
  ]
  for (const { name, medianMs } of await interleave(ways, Math.max(1, Math.ceil(ROUNDS / 3)))) {
    console.log(`${name}: ${(BYTES / megabyte / (medianMs / 1000)).toFixed(0)} MiB/s (${BYTES / megabyte} MiB)`)
  }
}

async function begin({ api }: TestSlipway, script: string, stdin: boolean): Promise<string> {
  const { id } = await api.call<{ id: string }>('POST', EXEC, { command: ['sh', '-c', script], stdin })
  return `${EXEC}/${id}/attach`
}

async function download(slipway: TestSlipway): Promise<void> {
  let seen = 0
  const onStdout = ({ length }: Uint8Array) => {
    seen += length
  }
  const path = await begin(slipway, `exec dd if=/dev/zero bs=64k count=${BYTES / 65_536} 2>/dev/null`, false)
  await using client = await attachTo(slipway, path, { hasFlow: true, onStdout })
  await client.ended
  if (seen !== BYTES) throw new Error(`${seen} bytes came`)
}

async function upload(slipway: TestSlipway): Promise<void> {
  await using client = await attachTo(slipway, await begin(slipway, 'exec wc -c', true), { hasFlow: true })
  const block = Buffer.alloc(65_536)
  for (let sent = 0; sent < BYTES; sent += block.length) await client.write(block)
  client.endInput()
  await client.ended
  if (client.stdout().trim() !== String(BYTES)) throw new Error(`${client.stdout()} bytes went`)
}
