import { existsSync, readFileSync, writeSync } from 'node:fs'
import { mkdir, statfs } from 'node:fs/promises'
import { availableParallelism, hostname, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { connect } from 'nats'
import { pino } from 'pino'
import { z } from 'zod'
import { durationMs, durationSchema } from '#shared/domain/duration.ts'
import { BUILDS_AT_ONCE, type HostFacts, labelsSchema } from '#shared/domain/host.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { logOutput } from '#shared/ports/log-output.ts'
import { natsTcpBus } from '#shared/ports/nats-tcp.ts'
import { AGENT_INBOXES, type PruneOrder, type StreamOrder } from '#shared/protocol/bus.ts'
import { takeBuilds } from './agent/build-taker.ts'
import { createBuildRunner } from './agent/builds.ts'
import { openDesiredCopy } from './agent/desired-copy.ts'
import { createDiskKeeper } from './agent/disk-keeper.ts'
import { createHealthKeeper } from './agent/health-keeper.ts'
import { createHostNetwork } from './agent/host-network.ts'
import { httpControlPlane } from './agent/http-control-plane.ts'
import { runInbox } from './agent/inbox.ts'
import { createReconciler, type Reconciler } from './agent/reconciler.ts'
import { createReporter } from './agent/reporter.ts'
import { answerStreams } from './agent/streams-inbox.ts'
import { openBuilder } from './build/builder.ts'
import { sweepCache } from './build/sweep-cache.ts'
import { openAttach } from './execute/attach.ts'
import { hasProcess } from './execute/container-snapshot.ts'
import { openContainerStream } from './execute/container-streams.ts'
import { createExecSessions } from './execute/exec-sessions.ts'
import { lockFolder } from './host/agent-lock.ts'
import { cgroupVersion } from './host/cgroup.ts'
import { openDiskReserve } from './host/disk-reserve.ts'
import { isDiskFull } from './host/kernel-error.ts'
import { openHost } from './main.host.ts'
import { observeContainer } from './observe/container-facts.ts'

/** The agent of one host: root, outbound connections only. Containers outlive it. */

const DEVICE_PATTERN = /^\/dev\/([A-Za-z0-9][^/*,]*\/)*([A-Za-z0-9][^/*,]*|\*)$/

const environment = z
  .object({
    SLIPWAY_URL: z.url(),
    SLIPWAY_TOKEN_FILE: z.string(),
    SLIPWAY_NATS_URL: z.string().default('nats://127.0.0.1:4222'),
    SLIPWAY_NATS_CREDENTIALS: z.string().optional(),
    SLIPWAY_DATA: z.string().default('/var/lib/slipway/agent'),
    SLIPWAY_RUN: z.string().default('/run/slipway'),
    SLIPWAY_INSTANCE: z
      .string()
      .regex(/^[a-z0-9]{1,8}$/)
      .default('main'),
    /** Empty: the best that works here. */
    SLIPWAY_STORAGE_DRIVER: z.string().default(''),
    SLIPWAY_RUNTIME: z.enum(['crun', 'runc']).default('crun'),
    SLIPWAY_MEASURE_EVERY: durationSchema.default('60s'),
    /** In percent: above the first room is made on the disk of the data folder, until no more than the second is taken. */
    SLIPWAY_DISK_HIGH: z.coerce.number().min(1).max(100).default(85),
    SLIPWAY_DISK_LOW: z.coerce.number().min(0).max(100).default(75),
    /** What was used for less than this is not given up. */
    SLIPWAY_DISK_MIN_AGE: durationSchema.default('10m'),
    /** What RUN may ask for where its build allows it, too: `network.host`, `security.insecure`, with commas. */
    SLIPWAY_BUILDS_MAY: z.string().default(''),
    /** `public`: RUN and ADD reach no private network. Where clouds keep keys no build goes anyway. */
    SLIPWAY_BUILD_REACH: z.enum(['private', 'public']).default('private'),
    /** Of one build, side by side. Steps wait for networks, too: four even where there are fewer CPUs. */
    SLIPWAY_BUILD_STEPS: z.coerce.number().int().min(1).max(1000).default(Math.max(4, availableParallelism())),
    /** Builds that run at the same time; 0: none, not even those that name this host. */
    SLIPWAY_BUILDS_AT_ONCE: z.coerce.number().int().min(0).max(14).default(BUILDS_AT_ONCE),
    /** What builds may ask for: `zone=eu,disk=nvme`. */
    SLIPWAY_LABELS: z.string().default('').transform(readLabels).pipe(labelsSchema),
    /** Devices that containers may be given: `/dev/fuse,/dev/dri/*`. Whoever has one has what is behind it. */
    SLIPWAY_DEVICES: z
      .string()
      .default('')
      .transform(readList)
      .pipe(z.array(z.string().regex(DEVICE_PATTERN))),
    /** `refused`: no container has all of this host, whatever the token of who asks for it says. */
    SLIPWAY_PRIVILEGED: z.enum(['allowed', 'refused']).default('allowed'),
    SLIPWAY_LOG: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  })
  .parse(process.env)

const FULL_PASS_MS = 15_000
const HEARTBEAT_MS = 10_000
const STOP_MS = 5000
const ROOM_MS = 10_000
const EX_CONFIG = 78
const VERSION = '0.1.0'
const log = pino(
  { level: environment.SLIPWAY_LOG },
  logOutput(line => writeSync(2, line)),
)
const NEEDED = {
  conmon: 'conmon',
  [environment.SLIPWAY_RUNTIME]: environment.SLIPWAY_RUNTIME,
  nft: 'nftables',
  ip: 'iproute2',
}

refuseIfUnable()
const dataFolder = environment.SLIPWAY_DATA
const lock = await lockFolder(dataFolder)
await lockFolder(`instance ${environment.SLIPWAY_INSTANCE}`) // Its bridge, table and cgroups bear that name.
process.once('uncaughtExceptionMonitor', sayWhichDiskIsFull)
await mkdir(dataFolder, { recursive: true, mode: 0o700 })
const reserve = openDiskReserve(dataFolder)
// On a full disk its room is what the start goes on with.
await reserve.keep().catch((error: unknown) => log.warn({ err: error }, 'no room could be reserved'))
const api = httpControlPlane(environment.SLIPWAY_URL, readFileSync(environment.SLIPWAY_TOKEN_FILE, 'utf8').trim())
const [user, password] = environment.SLIPWAY_NATS_CREDENTIALS
  ? readFileSync(environment.SLIPWAY_NATS_CREDENTIALS, 'utf8').trim().split(':')
  : []
const bus = natsTcpBus(connect, {
  url: environment.SLIPWAY_NATS_URL,
  user,
  password,
  name: 'slipway-agent',
  inboxPrefix: AGENT_INBOXES,
})
const host = await openHost(
  {
    instance: environment.SLIPWAY_INSTANCE,
    dataFolder,
    runFolder: environment.SLIPWAY_RUN,
    runtime: environment.SLIPWAY_RUNTIME,
    buildReach: environment.SLIPWAY_BUILD_REACH,
    allowed: {
      devices: environment.SLIPWAY_DEVICES,
      isPrivilegedAllowed: environment.SLIPWAY_PRIVILEGED === 'allowed',
    },
    storageDriver: environment.SLIPWAY_STORAGE_DRIVER || undefined,
    onTrouble: (error, what) => log.warn({ err: error }, what),
    onLayer: size => reporter.layer(size),
  },
  api,
).catch(giveUpWithoutStorage)
const stopping = new AbortController()
const { signal } = stopping
const desired = await openDesiredCopy(join(dataFolder, 'desired.json'))
const reporter = createReporter({
  api,
  clock: systemClock,
  log,
  generation: () => desired.state()?.generation ?? 0,
  facts: hostFacts,
  onTaken: (containers, builds) => {
    for (const { id, status } of containers) if (status.state === 'absent') desired.forget(id)
    for (const { id, observed } of builds) if (observed.state !== 'running') desired.forgetBuild(id)
  },
})
const builder = await openBuilder({
  ports: host,
  api,
  log,
  folder: join(dataFolder, 'builds'),
  random: bytes => crypto.getRandomValues(bytes),
  network: () => desired.state()?.network,
  identity: { id: environment.SLIPWAY_URL, version: VERSION },
  stepsAtOnce: environment.SLIPWAY_BUILD_STEPS,
  signal,
  entitlements: new Set(environment.SLIPWAY_BUILDS_MAY.split(',').map(name => name.trim())),
})
const health = createHealthKeeper({ ports: host, log, onChange: id => reconciler.look(id), signal })
const reconciler: Reconciler = createReconciler({
  ...{ ports: host, desired, reporter, health, log, builds: builder, random: Math.random },
})
const ensureNetwork = createHostNetwork({ driver: host.network, network: () => desired.state()?.network, log })
const builds = createBuildRunner({
  ...{ desired, reporter, api, build: builder.build, now: systemClock.now, signal },
  atOnce: environment.SLIPWAY_BUILDS_AT_ONCE,
})
const disk = createDiskKeeper({
  ports: {
    ...{ images: host.images, snapshots: host.snapshots, containersFolder: host.containersFolder, dataFolder },
    cachedSteps: async () => {
      const { cache, cacheMounts, contexts } = builder
      return (await Promise.all([cache.list(), cacheMounts.list(), contexts.list()])).flat()
    },
    removeCachedStep: async (key: string) => {
      const { cache, cacheMounts, contexts } = builder
      if (!(await cacheMounts.remove(key)) && !(await contexts.remove(key))) await cache.remove(key)
    },
    expireContainer: id => api.expireContainer(id).catch(error => log.warn({ err: error, id }, 'it was not given up')),
  },
  reserve,
  marks: {
    ...{ high: environment.SLIPWAY_DISK_HIGH / 100, low: environment.SLIPWAY_DISK_LOW / 100 },
    minAgeMs: durationMs(environment.SLIPWAY_DISK_MIN_AGE),
  },
  ...{ clock: systemClock, log, report: reporter.usage },
  wanted: () => desired.state()?.containers ?? [],
  isLive: id => hasProcess(host, id),
  observe: want => observeContainer(host, want, builder.holds(want.id)),
  sweepCache: olderThan => sweepCache(join(dataFolder, 'builds/cache'), olderThan),
  busySince: () => earliest(builder.busySince(), host.images.pullingSince()),
})
const sessions = createExecSessions(host, desired.container)
using _exits = host.runtime.watchExits(reconciler.look)
using _fetches = host.fetches.watchEnds(reconciler.look)

const loops = [
  reporter.run(signal),
  every(FULL_PASS_MS, fullPass),
  every(HEARTBEAT_MS, async () => reporter.heartbeat()),
  every(ROOM_MS, disk.makeRoom),
  every(ROOM_MS, sessions.sweep),
  every(durationMs(environment.SLIPWAY_MEASURE_EVERY), disk.measure),
  runInbox({
    ...{ api, bus, clock: systemClock, log, desired, signal },
    onChange: (ids, isFull) => {
      if (isFull) reconciler.sayAgain()
      ensureNetwork()
        .then(() => (isFull ? reconciler.lookAtAll() : ids.forEach(reconciler.look)))
        .catch(error => log.error({ err: error }, 'the host could not be looked at'))
      builds.look()
    },
  }),
  streams(),
  takeBuilds({ ...{ bus, clock: systemClock, log, builds, signal }, isReady: canBuild }),
]
sayLayerSizes().catch(error => log.warn({ err: error }, 'the images of this host could not be listed'))
log.info({ instance: environment.SLIPWAY_INSTANCE, api: environment.SLIPWAY_URL }, 'ready')
for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, stop)
await Promise.all(loops)

/** An earlier agent may not have come to say them. */
async function sayLayerSizes(): Promise<void> {
  for (const { layerSizes } of await host.images.list()) for (const size of layerSizes) reporter.layer(size)
}

async function fullPass(): Promise<void> {
  await ensureNetwork()
  if (desired.state()) await reconciler.lookAtAll()
  builds.look()
}

async function every(ms: number, work: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await work().catch(error => log.error({ err: error }, 'a pass failed; the next one tries again'))
    await systemClock.sleep(ms, signal)
  }
}

/** Requests for logs and files come over the bus; while there is none, nobody can ask. */
async function streams(): Promise<void> {
  while (!signal.aborted) {
    const hostId = desired.state()?.hostId
    if (hostId && bus.isConnected()) {
      await answerStreams({
        ...{ bus, hostId, clock: systemClock, log, signal },
        open: openStream,
      }).catch(error => log.warn({ err: error }, 'requests for logs and files cannot be heard'))
    }
    await systemClock.sleep(500, signal)
  }
}

function openStream(order: StreamOrder, over: AbortSignal, input: AsyncGenerator<Uint8Array, void>) {
  switch (order.kind) {
    case 'prune':
      return prune(order)
    case 'exec':
    case 'exec-state':
    case 'exec-list':
    case 'exec-resize':
      return sessions.answer(order, over)
    case 'attach':
    case 'exec-attach':
      return openAttach(order, host, sessions, desired.container, input, over)
    default:
      return openContainerStream(order, host, desired.container, over)
  }
}

async function* prune(order: PruneOrder): AsyncGenerator<Uint8Array, void> {
  yield new TextEncoder().encode(`${JSON.stringify(await disk.prune(order))}\n`)
}

/** A full disk is no place for a build. */
function canBuild(): boolean {
  if (!desired.state()) return false
  try {
    host.requireRoom()
    return true
  } catch {
    return false
  }
}

/** Words with commas between them. */
function readList(text: string): string[] {
  return text
    .split(',')
    .map(word => word.trim())
    .filter(word => word !== '')
}

/** `key=value,…`; what is no label is refused with the rest of the environment. */
function readLabels(text: string): Record<string, string> {
  const pairs = text.split(',').filter(pair => pair.trim() !== '')
  return Object.fromEntries(
    pairs.map(pair => {
      const [key = '', ...value] = pair.split('=')
      return [key.trim(), value.join('=').trim()]
    }),
  )
}

function earliest(...times: (number | undefined)[]): number | undefined {
  const known = times.filter(time => time !== undefined)
  return known.length > 0 ? Math.min(...known) : undefined
}

async function hostFacts(): Promise<HostFacts> {
  const disk = await statfs(dataFolder)
  return {
    hostname: hostname(),
    architecture: host.architecture,
    os: 'linux',
    kernel: release(),
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    diskBytes: disk.blocks * disk.bsize,
    diskFreeBytes: disk.bavail * disk.bsize,
    agentVersion: VERSION,
    snapshotter: host.snapshots.name,
    storage: host.storage,
    runtime: host.runtime.name,
    cgroup: cgroupVersion(),
    labels: environment.SLIPWAY_LABELS,
    buildsAtOnce: environment.SLIPWAY_BUILDS_AT_ONCE,
    abilities: host.abilities,
  }
}

function refuseIfUnable(): void {
  if (process.getuid?.() !== 0) giveUp('The agent makes mounts and namespaces, which takes root: start it as root.')
  const folders = (process.env.PATH ?? '').split(':')
  for (const [program, packageName] of Object.entries(NEEDED)) {
    const isThere = folders.some(folder => existsSync(join(folder, program)))
    if (!isThere) giveUp(`The program ${program} is missing: apt-get install ${packageName}.`)
  }
}

/** With sysexits.h's code for a configuration that cannot work: who supervises does not start us again. */
function giveUp(sentence: string): never {
  log.fatal(sentence)
  process.exit(EX_CONFIG)
}

/** A start that fails for want of room is tried again by who supervises it; until then this is what to do about it. */
function sayWhichDiskIsFull(error: unknown): void {
  if (!isDiskFull(error)) return
  log.fatal(
    `The disk of ${dataFolder} is full, and the agent cannot go on without some room: free some megabytes there (docs/disk.md). Containers run on meanwhile.`,
  )
}

/** Whoever runs the host has to do something first. */
function giveUpWithoutStorage(error: unknown): never {
  if (error instanceof SlipwayError && error.code === 'host.storage-unusable') giveUp(error.message)
  throw error
}

/**
 * Containers go on. Looks that run are given their time, builds are ended and given back. The lock is held to the end:
 * a look that still runs must not meet another agent's.
 */
function stop(): void {
  stopping.abort()
  const exit = () => {
    lock.close()
    process.exit(0)
  }
  setTimeout(exit, STOP_MS)
  Promise.all([reconciler.idle(), builds.idle(), bus.close()]).finally(exit)
}
