import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import { SlipwayError, toFault } from '#shared/errors.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import { cgroupRoot } from '#worker/host/cgroup.ts'
import { readFileInRoot } from '#worker/host/rooted-fs.ts'
import { readRecord, writeRecord } from '../observe/container-record.ts'
import type { ContainerAction } from '../reconcile/actions.ts'
import { restartDelayMs } from '../reconcile/restart.ts'
import { DEFAULT_CAPABILITIES } from '../runtime/isolation.ts'
import type { OciRuntimeConfig } from '../runtime/oci-config.ts'
import { runtimeConfig } from '../runtime/runtime-config.ts'
import { seccompFor } from '../runtime/seccomp.ts'
import { resolveUser } from '../runtime/user.ts'
import { hostsFile } from './identity-files.ts'
import type { HostPorts } from './ports.ts'

const ACCOUNT_FILE_LIMIT = 1024 * 1024

/** Begins a run. Whole or not at all: what fails leaves the writable layer and the reason, and nothing that runs. */
export async function runContainer(
  action: Extract<ContainerAction, { kind: 'runContainer' }>,
  ports: HostPorts,
): Promise<void> {
  const { want, run, attempts, restarts } = action
  const folder = join(ports.containersFolder, want.id)
  const old = await readRecord(folder)
  // A signal ordered before this run began was for an earlier one.
  const record = { run, restarts, attempts, signalSeq: Math.max(old.signalSeq, want.signal?.seq ?? 0) }
  await writeRecord(folder, record)
  try {
    await using undo = new AsyncDisposableStack()
    const config = await makeReady(want, folder, ports, undo)
    undo.defer(() => ports.runtime.delete(want.id))
    await ports.runtime.create(want.id, { config, path: folder, logPath: logPathOf(ports, want.id), statePath: folder })
    await ports.runtime.start(want.id)
    undo.move() // It runs: everything belongs to it now.
  } catch (error) {
    await writeRecord(folder, {
      ...record,
      failure: failureOf(error, attempts, ports.clock.now()),
      attempts: attempts + 1,
    })
    throw error
  }
}

/** Makes what a container needs without running it: so `created` means that it can start. */
export async function prepareContainer(want: DesiredContainer, ports: HostPorts): Promise<void> {
  const folder = join(ports.containersFolder, want.id)
  const record = await readRecord(folder)
  try {
    const image = await imageOf(want, ports)
    await ports.snapshots.prepare(want.id, image.config.rootfs.diff_ids)
    await ports.snapshots.unmount(want.id)
    await writeRecord(folder, { ...record, failure: undefined })
  } catch (error) {
    const attempts = record.attempts + 1
    await writeRecord(folder, { ...record, attempts, failure: failureOf(error, attempts, ports.clock.now()) })
    throw error
  }
}

/** Mount and network side by side, then the files that need both. */
async function makeReady(
  want: DesiredContainer,
  folder: string,
  ports: HostPorts,
  undo: AsyncDisposableStack,
): Promise<OciRuntimeConfig> {
  const { id, spec, endpoint } = want
  const image = await imageOf(want, ports)
  undo.defer(() => ports.network.detach(id))
  undo.defer(() => ports.snapshots.unmount(id))
  const [snapshot, attachment, resolvConf] = await Promise.all([
    ports.snapshots.prepare(id, image.config.rootfs.diff_ids),
    ports.network.attach(id, endpoint, spec.ports),
    ports.readResolvConf(),
  ])
  const hostname = spec.hostname ?? id.slice(0, 12)
  const files = { 'resolv.conf': resolvConf, hosts: hostsFile(endpoint.address, hostname), hostname: `${hostname}\n` }
  const defaults = image.config.config ?? {}
  const readAccounts = async (path: string) =>
    (await readFileInRoot(snapshot.rootfs, path, ACCOUNT_FILE_LIMIT))?.toString() ?? ''
  const [passwd, group] = await Promise.all([readAccounts('/etc/passwd'), readAccounts('/etc/group')])
  const config = runtimeConfig({
    spec,
    image: defaults,
    user: resolveUser(spec.user ?? defaults.User ?? '', passwd, group),
    rootfs: snapshot.rootfs,
    netns: attachment.netns,
    cgroupPath: `${cgroupRoot(ports.instance)}/${id}`,
    hostname,
    files: Object.fromEntries(Object.keys(files).map(name => [`/etc/${name}`, join(folder, name)])),
    seccomp: seccompFor(ports.seccomp, ports.architecture, DEFAULT_CAPABILITIES),
    maxOpenFiles: ports.maxOpenFiles,
  })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(folder, name), text, { mode: 0o644 })))
  return config
}

/** The very image that the API resolved, by digest: a tag may have moved since. */
async function imageOf({ spec }: DesiredContainer, ports: HostPorts): Promise<ResolvedImage> {
  const local = await ports.images.find(spec.imageDigest)
  if (local) return local
  const { repository } = parseImageReference(spec.image)
  return ports.images.pull(`${repository}@${spec.imageDigest}`)
}

export function logPathOf(ports: Pick<HostPorts, 'containersFolder'>, id: string): string {
  return join(ports.containersFolder, id, 'log')
}

/** A failure that may pass is tried again with a growing delay; one that cannot is kept as the container's end. */
function failureOf(error: unknown, attempts: number, now: number) {
  const { code, message } = toFault(error)
  const mayPass = error instanceof SlipwayError ? error.retry && code !== 'container.start-failed' : true
  return { code, message, at: now, ...(mayPass ? { retryAt: now + Math.max(1000, restartDelayMs(attempts)) } : {}) }
}
