import { mkdir, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BuildLimits } from '#shared/domain/build-needs.ts'
import { DEFAULT_CAPABILITIES } from '#shared/domain/capabilities.ts'
import type { Endpoint } from '#shared/domain/container.ts'
import type { ImageDefaults } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { LogLine } from '#shared/protocol/bus.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { cgroupRoot, memoryKills } from '#worker/host/cgroup.ts'
import { readFileInRoot } from '#worker/host/rooted-fs.ts'
import type { RunStep } from '../dockerfile/step.ts'
import { hostsFile } from '../execute/identity-files.ts'
import type { HostPorts } from '../execute/ports.ts'
import { readLog } from '../runtime/logs.ts'
import type { OciMount, OciRuntimeConfig } from '../runtime/oci-config.ts'
import { runtimeConfig } from '../runtime/runtime-config.ts'
import { seccompFor } from '../runtime/seccomp.ts'
import { resolveUser } from '../runtime/user.ts'

import { withAround } from './insecure.ts'
import { watchMountPoints } from './mount-points.ts'

export interface Command {
  id: string
  args: string[]
  env: string[]
  image: ImageDefaults
  rootfs: string
  /** Undefined without a network of its own. */
  endpoint: Endpoint | undefined
  mounts: readonly OciMount[]
  network: RunStep['network']
  security: RunStep['security']
  limits: BuildLimits
  /** For the bundle and the log; removed by the caller. */
  folder: string
}

/** Gets what a command prints, until it is full. */
export interface CommandOutput {
  line(line: LogLine): void
  isFull(): boolean
}

export interface CommandEnd {
  exitCode: number
  /** Processes of it that the kernel killed because memory ran out: its own limit's, or the host's. */
  memoryKills: number
}

const LOOK_MS = 200
/** More than this of a log that nobody reads any more is thrown away. */
const UNREAD_LOG_BYTES = 1024 * 1024
const ACCOUNT_FILE_LIMIT = 1024 * 1024
const HOSTNAME = 'buildstep'

/**
 * Runs a command of a RUN step under the isolation of containers and returns how it ended. What the runtime made in
 * the root filesystem to mount over is taken away again: it is no change of the command's. It takes
 * as long as its build may: the signal ends it. Errors: `build.memory-exceeded` where it fails after a kill at its limit.
 */
export async function runCommand(
  command: Command,
  ports: HostPorts,
  output: CommandOutput,
  over: AbortSignal,
): Promise<CommandEnd> {
  const { id, folder, rootfs, endpoint } = command
  const logPath = join(folder, 'log')
  await using undo = new AsyncDisposableStack()
  const mountPoints = watchMountPoints(
    rootfs,
    command.mounts.map(({ destination }) => destination),
  )
  undo.defer(async () => mountPoints.remove())
  let netns: string | undefined
  if (endpoint) {
    undo.defer(() => ports.network.detach(id))
    netns = (await ports.network.attach(id, endpoint, [])).netns
  }
  const config = await makeConfig(command, netns, ports)
  undo.defer(() => ports.runtime.delete(id))
  await ports.runtime.create(id, { config, path: folder, logPath, statePath: folder })
  mountPoints.made()
  await ports.runtime.start(id)
  await followLog(logPath, id, ports, output, over)
  over.throwIfAborted()
  const exitCode = await exitCodeOf(id, ports, over)
  const ended = { exitCode, memoryKills: await memoryKills(`${cgroupRoot(ports.instance)}/${id}`) }
  refuseMemory(ended, command.limits)
  return ended
}

/**
 * What the kernel killed for its memory may be a child of the command: the command's exit code says whether it could do without,
 * as for BuildKit.
 */
function refuseMemory({ exitCode, memoryKills }: CommandEnd, { memoryBytes }: BuildLimits): void {
  if (exitCode === 0 || memoryKills === 0 || memoryBytes === undefined) return
  const message = `The command needs more memory than the ${sizeInWords(memoryBytes)} that it may have: ask for more with "memory".`
  throw new SlipwayError('build.memory-exceeded', message, { facts: { memoryBytes } })
}

async function makeConfig(command: Command, netns: string | undefined, ports: HostPorts): Promise<OciRuntimeConfig> {
  const { folder, rootfs, image } = command
  const { cpus, memoryBytes } = command.limits
  const files = {
    'resolv.conf': await ports.readResolvConf(),
    hosts: hostsFile(command.endpoint?.address ?? '127.0.1.1', HOSTNAME),
  }
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o644 })
  const accounts = async (path: string) => (await readFileInRoot(rootfs, path, ACCOUNT_FILE_LIMIT))?.toString() ?? ''
  const config = runtimeConfig({
    spec: { entrypoint: command.args, command: [], env: [], resources: { cpus, memoryBytes }, isReadOnly: false },
    // The image's settings come last: they win over ARGs of the same name.
    image: { ...image, Env: [...command.env, ...(image.Env ?? [])] },
    user: resolveUser(image.User ?? '', await accounts('/etc/passwd'), await accounts('/etc/group')),
    rootfs,
    netns,
    cgroupPath: `${cgroupRoot(ports.instance)}/${command.id}`,
    hostname: HOSTNAME,
    files: Object.fromEntries(Object.keys(files).map(name => [`/etc/${name}`, join(folder, name)])),
    seccomp: seccompFor(ports.seccomp, ports.architecture, DEFAULT_CAPABILITIES),
    maxOpenFiles: ports.maxOpenFiles,
    limitsSwap: !('memorySwap' in ports.abilities.lacks),
    oomScoreAdj: ports.oomScoreAdj,
  })
  return withAround(config, command)
}

/** Until the command has ended and every line was read that is wanted. */
async function followLog(
  path: string,
  id: string,
  ports: HostPorts,
  output: CommandOutput,
  signal: AbortSignal,
): Promise<void> {
  using ended = exitBell(id, ports)
  const clock: Clock = {
    now: ports.clock.now,
    sleep: (ms, more) => ports.clock.sleep(ms, AbortSignal.any([ended.signal, ...(more ? [more] : [])])),
  }
  const isLive = async () => (await ports.runtime.inspect(id)).state !== 'exited'
  const query = { follow: true, stdout: true, stderr: true }
  for await (const lines of readLog({ path, clock, signal, isLive }, query)) {
    lines.forEach(output.line)
    if (output.isFull()) break
  }
  // A command that prints for ever neither fills the disk nor waits for anybody: its monitor appends, wherever the end is.
  while (output.isFull() && !signal.aborted && (await isLive())) {
    if ((await stat(path)).size > UNREAD_LOG_BYTES) await truncate(path)
    await clock.sleep(LOOK_MS, signal)
  }
}

/** The exit may be seen a moment before its file is: then the log's reader goes on at its own pace. */
function exitBell(id: string, ports: HostPorts) {
  const ringing = new AbortController()
  const watching = ports.runtime.watchExits(ended => {
    if (ended === id) ringing.abort()
  })
  return { signal: ringing.signal, [Symbol.dispose]: () => watching[Symbol.dispose]() }
}

async function exitCodeOf(id: string, ports: HostPorts, signal: AbortSignal): Promise<number> {
  for (;;) {
    const state = await ports.runtime.inspect(id)
    if (state.state === 'exited' && state.exitCode !== undefined) return state.exitCode
    if (state.state === 'exited' || state.state === 'absent') {
      throw new SlipwayError(
        'host.command-failed',
        "The step's monitor was killed, so its exit code is lost: build again.",
      )
    }
    signal.throwIfAborted()
    await ports.clock.sleep(LOOK_MS, signal)
  }
}
