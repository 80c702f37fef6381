import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { bootControlPlane } from '#test/support/control-plane.ts'
import { type Contender, interleave, table } from './measure.ts'
import { makeImage } from './registry-image.ts'
import { startRegistryPeer } from './registry-peer.ts'

const execute = promisify(execFile)
const MEGABYTE = 1024 ** 2
const PULLERS = 32
const PEER = 'docker-registry'

interface Registry {
  name: string
  host: string
  credentials: string[]
}

/** Pushes and pulls of one big layer, of many small ones, and by many clients at once: ours and Debian's docker-registry. */
export async function registryBench(): Promise<void> {
  await using ours = await bootControlPlane()
  await using peer = await startRegistryPeer()
  const scratch = await mkdtemp('/dev/shm/slipway-bench-registry-') // Memory: the client's disk is not what is measured.
  const registries: Registry[] = [
    { name: 'slipway', host: new URL(ours.url).host, credentials: ['-creds', `x:${ours.token}`] },
    { name: PEER, host: peer.host, credentials: [] },
  ]
  try {
    for (const [what, layers, bytes, rounds] of [
      ['one layer of 1 GiB', 1, 1024 * MEGABYTE, 9],
      ['60 layers of 256 KiB', 60, MEGABYTE / 4, 15],
    ] as const) {
      await oneByOne(scratch, registries, what, layers, bytes, rounds)
    }
    await manyAtOnce(scratch, registries)
    console.log(
      `\npeak memory: slipway's control plane ${peakMegabytes(ours.pid())} MB, ${PEER} ${peakMegabytes(peer.pid)} MB`,
    )
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

async function oneByOne(
  scratch: string,
  registries: readonly Registry[],
  what: string,
  layers: number,
  bytes: number,
  rounds: number,
): Promise<void> {
  const image = join(scratch, 'image')
  const target = join(scratch, 'target')
  // Both get the same image, which is new to them.
  const freshImage = async () => {
    await rm(image, { recursive: true, force: true })
    await makeImage(image, layers, bytes)
  }
  const pushes = registries.map<Contender>(registry => ({
    name: `${registry.name}: push`,
    run: round => push(registry, image, `bench/r${layers}-${round}`),
  }))
  const pulls = registries.map<Contender>(registry => ({
    name: `${registry.name}: pull`,
    run: round => pull(registry, target, `bench/r${layers}-${round}`),
    undo: () => rm(target, { recursive: true }),
  }))
  console.log(`\n${what}`)
  console.log(table(await interleave(pushes, rounds, freshImage), `${PEER}: push`))
  console.log(table(await interleave(pulls, rounds), `${PEER}: pull`))
  await rm(image, { recursive: true })
}

async function manyAtOnce(scratch: string, registries: readonly Registry[]): Promise<void> {
  const image = join(scratch, 'image')
  await makeImage(image, 10, MEGABYTE)
  for (const registry of registries) await push(registry, image, 'bench/many')
  const contenders = registries.map<Contender>(registry => ({
    name: `${registry.name}: ${PULLERS} pulls at once`,
    run: async () => {
      const each = Array.from({ length: PULLERS }, (_, at) => pull(registry, join(scratch, `many${at}`), 'bench/many'))
      await Promise.all(each)
    },
    undo: async () => {
      for (let at = 0; at < PULLERS; at++) await rm(join(scratch, `many${at}`), { recursive: true })
    },
  }))
  console.log(`\n${PULLERS} clients at once, 10 layers of 1 MiB each`)
  console.log(table(await interleave(contenders, 5), `${PEER}: ${PULLERS} pulls at once`))
}

const push = ({ host, credentials }: Registry, image: string, name: string) =>
  copy('dest', credentials, `dir:${image}`, `docker://${host}/${name}:1`)
const pull = ({ host, credentials }: Registry, folder: string, name: string) =>
  copy('src', credentials, `docker://${host}/${name}:1`, `dir:${folder}`)

async function copy(side: 'src' | 'dest', credentials: readonly string[], from: string, to: string): Promise<void> {
  const [flag, value] = credentials
  const login = flag && value ? [`--${side}${flag}`, value] : []
  await execute('skopeo', ['copy', '-q', '--preserve-digests', `--${side}-tls-verify=false`, ...login, from, to])
}

function peakMegabytes(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Math.round(Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) / 1000)
}
