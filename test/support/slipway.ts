import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { buildBusybox } from '#infra/local/base-images.ts'
import { type Booted, bootSlipway, type Progress } from '#infra/local/boot.ts'
import { addressPoolOf, type Layout } from '#infra/local/layout.ts'
import { leftoversOf } from './leftovers.ts'

export interface TestSlipway extends Booted {
  layout: Layout
  /** What the parts said while they started, died and started again. */
  progress: string[]
  /** Stops the parts, removes the instance from the machine and returns what was left behind all the same. */
  remove(): Promise<string[]>
}

const project = join(import.meta.dirname, '../..')
/** The agents that tests boot get it: what takes room is said before anybody has waited for it. */
process.env.SLIPWAY_MEASURE_EVERY = '2s'

/** Boots a whole Slipway of its own beside whatever else runs here. `instance`: up to 8 of a-z and 0-9, one a test file. */
export async function bootForTest(
  instance: string,
  dataFolder = makeDataFolder(instance),
  boot: (layout: Layout, progress: Progress) => Promise<Booted> = bootSlipway,
): Promise<TestSlipway> {
  const layout: Layout = {
    instance,
    dataFolder,
    runFolder: `/run/slipway-${instance}`,
    apiPort: await freePort(),
    natsPort: await freePort(),
    natsWebSocketPort: await freePort(),
    addressPool: addressPoolOf(instance),
  }
  refuseRoutedPool(layout)
  const progress: string[] = []
  try {
    const booted = await boot(layout, line => progress.push(line))
    const remove = async () => {
      await booted[Symbol.asyncDispose]()
      return removeInstance(layout)
    }
    return { ...booted, layout, progress, remove, [Symbol.asyncDispose]: async () => void (await remove()) }
  } catch (error) {
    removeInstance(layout)
    throw error
  }
}

/** Pools are chosen by names, and two files run at once: they would answer to each other's addresses. */
function refuseRoutedPool({ instance, addressPool }: Layout): void {
  const routes = execFileSync('ip', ['route', 'show', 'root', addressPool], { encoding: 'utf8' }).trim().split('\n')
  const others = routes.filter(line => line !== '' && !line.includes(` dev slw-${instance} `))
  if (others.length > 0)
    throw new Error(`${addressPool} is in use: call this instance something else.\n${others.join('\n')}`)
}

export function makeDataFolder(instance: string): string {
  return mkdtempSync(`/var/tmp/slipway-${instance}-`)
}

/** The same with the `busybox` image built. */
export async function bootWithBusybox(instance: string, dataFolder?: string): Promise<TestSlipway> {
  const slipway = await bootForTest(instance, dataFolder)
  try {
    await buildBusybox(slipway.api, () => {})
    return slipway
  } catch (error) {
    await slipway.remove()
    throw error
  }
}

function removeInstance(layout: Layout): string[] {
  const removal = spawnSync(process.execPath, [join(project, 'infra/local/clean.ts')], {
    encoding: 'utf8',
    timeout: 60_000,
    env: {
      ...process.env,
      SLIPWAY_INSTANCE: layout.instance,
      SLIPWAY_DATA: layout.dataFolder,
      SLIPWAY_RUN: layout.runFolder,
      SLIPWAY_API_PORT: String(layout.apiPort),
      SLIPWAY_NATS_PORT: String(layout.natsPort),
    },
  })
  const left = leftoversOf(layout)
  if (removal.status === 0) rmSync(layout.dataFolder, { recursive: true, force: true })
  else left.push(`clean failed: ${removal.stderr}`)
  return left
}

export async function freePort(address = '127.0.0.1'): Promise<number> {
  const server = createServer()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen(0, address, resolve)
  await promise
  const bound = server.address()
  await new Promise(closed => server.close(closed))
  if (bound === null || typeof bound === 'string') throw new Error('no port was given')
  return bound.port
}
