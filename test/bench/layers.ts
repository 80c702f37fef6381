import { execFile } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { COMPRESSIONS, compressImage, makeSamples } from './layers-images.ts'
import { ctrPeer, dockerPeer, type ImageRunner, podmanPeer, slipwayRunner } from './layers-runners.ts'
import { figures, table } from './measure.ts'

const execute = promisify(execFile)
const ROUNDS = Number(process.env.ROUNDS ?? 5)
const MEGABYTE = 1e6

interface Sample {
  tookMs: number
  writtenMegabytes: number
  peakMegabytes: number
}

/**
 * From "run this image" to its first process running, nothing of the image being on the host and nothing in the page
 * cache: ours, docker, podman and containerd, all from our registry on loopback. What each writes to the disk until
 * then and the memory of its processes are shown beside it.
 */
export async function layersBench(): Promise<void> {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp('/var/tmp/slipway-bench-layers-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const ours = undo.use(await slipwayRunner())
  const docker = undo.use(await dockerPeer(ours, folder))
  const podman = undo.use(await podmanPeer(ours, folder))
  const runners = [ours, docker, ctrPeer(docker, ours), podman]
  for (const sample of await makeSamples(folder)) {
    for (const compression of COMPRESSIONS) {
      const image = join(folder, 'image')
      await compressImage(image, sample, compression)
      const name = `bench/${sample.name}:${compression}`
      const to = ['--dest-tls-verify=false', '--dest-creds', `x:${ours.token}`]
      await execute('skopeo', [
        'copy',
        '-q',
        '--preserve-digests',
        ...to,
        `dir:${image}`,
        `docker://${ours.host}/${name}`,
      ])
      await rm(image, { recursive: true })
      console.log(`\n${name}`)
      await compare(runners, name)
    }
  }
}

async function compare(runners: readonly ImageRunner[], image: string): Promise<void> {
  const samples = new Map<ImageRunner, Sample[]>(runners.map(runner => [runner, []]))
  const failed = new Set<ImageRunner>()
  for (let round = 0; round < ROUNDS; round++) {
    for (const runner of runners.filter(one => !failed.has(one))) {
      try {
        samples.get(runner)?.push(await measure(runner, image))
      } catch (error) {
        failed.add(runner)
        console.log(`${runner.name} cannot: ${lastLine(error)}`)
        await runner.clear(image).catch(() => {})
      }
    }
  }
  const able = runners.filter(runner => !failed.has(runner))
  const of = (runner: ImageRunner, key: keyof Sample) => samples.get(runner)?.map(sample => sample[key]) ?? []
  const times = able.map(runner => figures(runner.name, of(runner, 'tookMs')))
  const peers = times.filter(({ name }) => name !== 'slipway')
  const best = peers.reduce((first, second) => (second.medianMs < first.medianMs ? second : first))
  console.log(table(times, best.name))
  for (const runner of able) {
    const [written, peak] = [of(runner, 'writtenMegabytes'), of(runner, 'peakMegabytes')].map(
      values => figures('', values).medianMs,
    )
    console.log(
      `${runner.name}: ${written?.toFixed(0)} MB written to the disk, ${peak?.toFixed(0)} MB of memory at most`,
    )
  }
}

async function measure(runner: ImageRunner, image: string): Promise<Sample> {
  await settleDisk()
  const writtenBefore = sectorsWritten()
  using memory = watchMemory(runner)
  const begin = performance.now()
  await runner.run(image)
  const tookMs = performance.now() - begin
  const peakMegabytes = memory.peakMegabytes()
  await execute('sync')
  const writtenMegabytes = ((sectorsWritten() - writtenBefore) * 512) / MEGABYTE
  await runner.clear(image)
  return { tookMs, writtenMegabytes, peakMegabytes }
}

/** Nothing waits to be written, and nothing that was read is remembered. */
async function settleDisk(): Promise<void> {
  await execute('sync')
  writeFileSync('/proc/sys/vm/drop_caches', '3')
}

/** Of whole disks, all that were written since the machine started. */
function sectorsWritten(): number {
  const disks = readFileSync('/proc/diskstats', 'utf8')
    .split('\n')
    .map(line => line.trim().split(/\s+/))
  return disks
    .filter(([, , name]) => /^([shv]d[a-z]+|nvme\d+n\d+)$/.test(name ?? ''))
    .reduce((sum, fields) => sum + Number(fields[9]), 0)
}

const LOOK_EVERY_MS = 50

/** The most that the runner's processes held together, looked at every 50 ms. */
function watchMemory(runner: ImageRunner) {
  let peak = 0
  const look = () => {
    peak = Math.max(
      peak,
      runner.pids().reduce((sum, pid) => sum + residentMegabytes(pid), 0),
    )
  }
  const timer = setInterval(look, LOOK_EVERY_MS)
  return {
    peakMegabytes: () => {
      look()
      return peak
    },
    [Symbol.dispose]: () => clearInterval(timer),
  }
}

function residentMegabytes(pid: number): number {
  try {
    return Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1000
  } catch {
    return 0 // It has ended.
  }
}

function lastLine(error: unknown): string {
  const text = error instanceof Error && 'stderr' in error ? String(error.stderr) : String(error)
  return text.trim().split('\n').at(-1) ?? ''
}
