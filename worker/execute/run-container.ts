import { chown, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { HealthPlan } from '#shared/domain/health.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import { cgroupRoot } from '#worker/host/cgroup.ts'
import { ownerOf } from '#worker/host/userns.ts'
import { readRecord, writeRecord } from '../observe/container-record.ts'
import type { ContainerAction } from '../reconcile/actions.ts'
import { type ContainerRecord, isStale } from '../reconcile/facts.ts'
import { healthPlan } from '../reconcile/health.ts'
import { runEnd, UNKNOWN_EXIT } from '../reconcile/run-end.ts'
import { confined } from '../runtime/confine.ts'
import { INIT_PROGRAM } from '../runtime/init-program.ts'
import type { OciRuntimeConfig } from '../runtime/oci-config.ts'
import { runtimeConfig } from '../runtime/runtime-config.ts'
import { resolveUser } from '../runtime/user.ts'
import { blockDevices, confinementOf, makeFurtherMountPoints } from './confinement.ts'
import { failureAfter } from './failure.ts'
import { hostsFile } from './identity-files.ts'
import { makeMountPoints } from './make-mount-points.ts'
import { firstIdOf } from './own-ids.ts'
import type { HostPorts } from './ports.ts'
import { readAccounts } from './read-accounts.ts'
import { requireUnread, resetStale } from './reset-container.ts'
import { unmountUnlessHeld } from './snapshot-holds.ts'
import { makeVolumeFolders } from './volume-folders.ts'

/** Begins a run. Whole or not at all: what fails leaves the writable layer and the reason, and nothing that runs. */
export async function runContainer(
  action: Extract<ContainerAction, { kind: 'runContainer' }>,
  ports: HostPorts,
): Promise<void> {
  const { want, run, attempts, restarts } = action
  const folder = join(ports.containersFolder, want.id)
  const old = await readRecord(folder)
  if (isStale(want.spec, old)) requireUnread(ports, want.id)
  const lastEnd = old.run > 0 && old.run < run ? await endOf(ports, want.id, old) : old.lastEnd
  // How the run before ended goes before this one is recorded: it must never be read as this one's end.
  await ports.runtime.delete(want.id)
  await resetStale(ports, want)
  // A signal ordered before this run began was for an earlier one.
  const { revision, imageDigest } = want.spec
  const signalSeq = Math.max(old.signalSeq, want.signal?.seq ?? 0)
  const isRevived = want.goal.kind === 'stopped' || undefined
  const { bootId } = ports
  const record = {
    run,
    restarts,
    attempts,
    revision,
    spec: want.spec,
    imageDigest,
    signalSeq,
    bootId,
    isRevived,
    lastEnd,
  }
  await writeRecord(folder, record)
  try {
    await using undo = new AsyncDisposableStack()
    using _ = ports.holds.hold(want.id) // Given back before anything is undone.
    using own = new DisposableStack() // What the runtime enters has to be there until it has.
    const { config, health } = await makeReady(want, folder, ports, { undo, own })
    if (health) await writeRecord(folder, { ...record, health })
    undo.defer(() => ports.runtime.delete(want.id))
    const stdin = want.spec.stdin ? (want.spec.stdinOnce ? 'once' : 'open') : undefined
    const logPath = logPathOf(ports, want.id)
    await ports.runtime.create(want.id, { config, path: folder, logPath, statePath: folder, stdin })
    await startProcess(ports, want.id)
    undo.move() // It runs: everything belongs to it now.
  } catch (error) {
    const last = old.run === run ? old.failure : undefined
    await writeRecord(folder, { ...record, failure: failureAfter(last, error, ports.clock.now()) })
    throw error
  }
}

/** For whoever waits for it: the end of a run that is followed by another at once is told with that. */
async function endOf(ports: HostPorts, id: ContainerId, record: ContainerRecord): Promise<ContainerRecord['lastEnd']> {
  const end = runEnd({ process: await ports.runtime.inspect(id), record })
  if (!end) return undefined
  const { exitCode = UNKNOWN_EXIT, finishedAt = ports.clock.now(), isOutOfMemory } = end
  return { run: record.run, exitCode, finishedAt, isOutOfMemory: isOutOfMemory || undefined }
}

/** Lets a made process go, which a killed agent may have left. From the mark on, one that is not there has ended. */
export async function startProcess(ports: HostPorts, id: ContainerId): Promise<void> {
  const folder = join(ports.containersFolder, id)
  await writeRecord(folder, { ...(await readRecord(folder)), begunAt: ports.clock.now() })
  await ports.runtime.start(id)
}

/** An end that nobody saw has the time at which it was noticed. */
export async function noteEnd(ports: HostPorts, id: ContainerId): Promise<void> {
  const folder = join(ports.containersFolder, id)
  await writeRecord(folder, { ...(await readRecord(folder)), endedAt: ports.clock.now() })
}

/** The kernel's count goes with the cgroup: at the next run, or with a reboot. */
export async function noteOutOfMemory(ports: HostPorts, id: ContainerId): Promise<void> {
  const folder = join(ports.containersFolder, id)
  await writeRecord(folder, { ...(await readRecord(folder)), isOutOfMemory: true })
}

/** Makes what a container needs without running it: so `created` means that it can start. */
export async function prepareContainer(want: DesiredContainer, ports: HostPorts): Promise<void> {
  const folder = join(ports.containersFolder, want.id)
  await resetStale(ports, want)
  const record = await readRecord(folder)
  try {
    const image = await imageOf(want, ports)
    await ports.snapshots.prepare(want.id, image.config.rootfs.diff_ids)
    await unmountUnlessHeld(ports, want.id)
    await writeRecord(folder, { ...record, failure: undefined })
  } catch (error) {
    await writeRecord(folder, { ...record, failure: failureAfter(record.failure, error, ports.clock.now()) })
    throw error
  }
}

/** Mount and network side by side, then the files that need both. */
async function makeReady(
  want: DesiredContainer,
  folder: string,
  ports: HostPorts,
  { undo, own }: { undo: AsyncDisposableStack; own: DisposableStack },
): Promise<{ config: OciRuntimeConfig; health: HealthPlan | undefined }> {
  const { id, spec, endpoint } = want
  const firstId = spec.security?.userns === 'auto' ? firstIdOf(endpoint) : undefined
  // Before anything else: an earlier run may have left them, and a start that fails holds no port.
  undo.defer(() => ports.network.detach(id))
  undo.defer(() => unmountUnlessHeld(ports, id))
  const image = await imageOf(want, ports)
  const work = [
    ports.snapshots.prepare(id, image.config.rootfs.diff_ids, { firstId }),
    ports.network.attach(id, endpoint, spec.ports, firstId),
    ports.readResolvConf(),
    ports.secrets.prepare(id, spec.security?.secrets ?? [], firstId),
  ] as const
  await Promise.allSettled(work) // One that fails must not be undone while the others are still at it.
  const [snapshot, attachment, resolvConf, secretsFolder] = await Promise.all(work)
  const hostname = spec.hostname ?? id.slice(0, 12)
  const files = { 'resolv.conf': resolvConf, hosts: hostsFile(endpoint.address, hostname), hostname: `${hostname}\n` }
  const defaults = image.config.config ?? {}
  await makeMountPoints(snapshot.rootfs, firstId)
  await makeVolumeFolders(snapshot.rootfs, defaults, firstId)
  await makeFurtherMountPoints(snapshot.rootfs, spec, firstId)
  const [passwd, group] = await readAccounts(snapshot.rootfs)
  const config = runtimeConfig({
    spec,
    image: defaults,
    user: resolveUser(spec.user ?? defaults.User ?? '', passwd, group),
    rootfs: snapshot.rootfs,
    netns: attachment.netns,
    cgroupPath: `${cgroupRoot(ports.instance)}/${id}`,
    hostname,
    init: spec.hasInit ? requireInit(ports) : undefined,
    files: Object.fromEntries(Object.keys(files).map(name => [`/etc/${name}`, join(folder, name)])),
    maxOpenFiles: ports.maxOpenFiles,
    blockDevices: blockDevices(spec),
    limitsSwap: !('memorySwap' in ports.abilities.lacks),
    oomScoreAdj: ports.oomScoreAdj,
  })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(folder, name), text, { mode: 0o644 })))
  if (firstId !== undefined) for (const name of Object.keys(files)) await chown(join(folder, name), firstId, firstId)
  const userns = firstId === undefined ? undefined : { path: own.use(ownerOf(attachment.netns)).path, firstId }
  const confinement = confinementOf(spec, ports, { groupFile: group, secretsFolder, userns })
  return { config: confined(config, confinement), health: healthPlan(spec.healthCheck, defaults) }
}

/** Errors: `host.command-failed` where the host has none. */
function requireInit({ initProgram }: HostPorts): string {
  if (initProgram !== undefined) return initProgram
  const message = `The host has no ${INIT_PROGRAM}, which is the init of containers: apt-get install ${INIT_PROGRAM}.`
  throw new SlipwayError('host.command-failed', message)
}

/** The very image that the API resolved, by digest: a tag may have moved since. It was fetched before. */
async function imageOf({ id, spec }: DesiredContainer, ports: HostPorts): Promise<ResolvedImage> {
  const image = await ports.images.find(spec.imageDigest, id)
  if (image) return image
  throw new SlipwayError('internal', `The image ${spec.imageDigest} left this host meanwhile: it is fetched again.`)
}

export function logPathOf(ports: Pick<HostPorts, 'containersFolder'>, id: string): string {
  return join(ports.containersFolder, id, 'log')
}
