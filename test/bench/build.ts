import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openAptRepository } from './apt-repository.ts'
import { buildahBuilder, dockerBuilders, type ImageBuilder, slipwayBuilder } from './build-builders.ts'
import { buildRows, type Row } from './build-rows.ts'
import { type Figures, interleave, table } from './measure.ts'

const execute = promisify(execFile)
const ROUNDS = Number(process.env.ROUNDS ?? 5)
/** Parts of the names of rows, with commas between them. */
const ONLY = process.env.ROWS?.split(',')
const PROJECT = join(import.meta.dirname, '../..')
const CACHE = join(PROJECT, '.tools/cache')

/**
 * From "build this folder" to the image: ours published, beside docker.io's classic builder and its BuildKit, and buildah. All have the
 * same base at hand and build the same folders; in each round all of a row build the same thing.
 */
export async function buildBench(): Promise<void> {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp('/var/tmp/slipway-bench-build-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const rootfs = join(CACHE, 'debian-12.tar.gz')
  await execute('sh', [join(PROJECT, 'infra/local/debian-base.sh'), rootfs], { maxBuffer: 64 * 1024 ** 2 })
  const packages = undo.use(await openAptRepository(join(CACHE, 'apt-bench'), rootfs))
  const ours = undo.use(await slipwayBuilder(rootfs))
  const docker = undo.use(await dockerBuilders(rootfs))
  const buildah = undo.use(await buildahBuilder(folder, rootfs))
  const builders = [ours, ...docker.all, buildah]
  const lines: string[] = []
  for (const row of buildRows(packages.url).filter(isWanted)) {
    const context = join(folder, 'context')
    await mkdir(context)
    await row.make(context)
    const results = await measured(row, builders, context)
    await rm(context, { recursive: true })
    const best = bestPeer(results)
    console.log(`\n${row.name}\n${table(results, best.name)}`)
    lines.push(verdict(row, results, best))
  }
  console.log(`\n${lines.join('\n')}`)
}

const isWanted = ({ name }: Row) => ONLY?.some(part => name.includes(part)) ?? true

/** All build it once, untimed; a contender that cannot is named and left out. */
async function measured(row: Row, builders: readonly ImageBuilder[], context: string): Promise<Figures[]> {
  const able: ImageBuilder[] = []
  for (const builder of builders) {
    try {
      await builder.build(context)
      able.push(builder)
    } catch (error) {
      console.log(`\n${row.name}: ${builder.name} cannot: ${saidBy(error)}`)
    }
  }
  const contenders = able.map(({ name, build }) => ({ name, run: () => build(context) }))
  return interleave(contenders, Math.min(ROUNDS, row.rounds ?? ROUNDS), async () => row.change?.(context), true)
}

function bestPeer(results: readonly Figures[]): Figures {
  const peers = results.filter(({ name }) => name !== 'slipway')
  return peers.reduce((first, second) => (second.medianMs < first.medianMs ? second : first))
}

function verdict(row: Row, results: readonly Figures[], best: Figures): string {
  const ours = results.find(({ name }) => name === 'slipway')?.medianMs ?? Number.NaN
  const seconds = (ms: number) => `${(ms / 1000).toFixed(2)} s`
  const times = (best.medianMs / ours).toFixed(2)
  return `${row.name.padEnd(34)}${seconds(ours).padStart(10)}, best peer ${best.name} ${seconds(best.medianMs)}: ${times} times as fast`
}

const SAID = 2000

function saidBy(error: unknown): string {
  const text = error instanceof Error && 'stderr' in error && error.stderr ? String(error.stderr) : String(error)
  return text.trim().slice(-SAID)
}
