import { existsSync, watch } from 'node:fs'
import { mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { cgroupRoot, isFrozen, listCgroups, memoryKills, removeCgroup } from '#worker/host/cgroup.ts'
import { launchMonitor } from '#worker/host/monitor.ts'
import { commandLine, processFacts, signalProcess } from '#worker/host/process.ts'
import { programPath, run, runAny } from '#worker/host/run.ts'
import { configText } from './config-text.ts'
import { crunFilters, NO_FILTERS } from './crun-filters.ts'
import { readExit, readPid } from './monitor-files.ts'
import type { Bundle, OciRuntime, RuntimeState } from './oci-runtime.ts'
import { requireOwnFolders } from './own-folders.ts'
import { runProbe } from './probe.ts'
import { reachablePath, removeReachable, withReachableRoot } from './reachable-root.ts'
import { startFailure } from './start-failure.ts'

export interface ConmonRuntimeOptions {
  /** `crun` or `runc`: both take the same commands. */
  program: 'crun' | 'runc'
  instance: string
  /** Runtime state and monitors' pid files: gone after a reboot, as the processes are. */
  runFolder: string
  /** Exit codes: they outlive a reboot. */
  dataFolder: string
}

const COMMAND_MS = 30_000
/** For a monitor to end by itself, then after each signal. */
const MONITOR_END_MS = 1000

/** An OCI runtime below conmon, one monitor a container. Everything is read from files and /proc; nothing is remembered. */
export async function openConmonRuntime(options: ConmonRuntimeOptions): Promise<OciRuntime> {
  const { program, instance } = options
  const root = join(options.runFolder, program)
  const pids = join(options.runFolder, 'pids')
  const exits = join(options.dataFolder, 'exits')
  const probes = join(options.runFolder, 'probes')
  for (const folder of [root, pids, exits]) await mkdir(folder, { recursive: true, mode: 0o700 })
  const pidFile = (id: string) => join(pids, id)
  const monitorFile = (id: string) => join(pids, `${id}.monitor`)
  const exitFile = (id: string) => join(exits, id)
  const cgroupOf = (id: string) => `${cgroupRoot(instance)}/${id}`
  const programFile = await programPath(program) // conmon takes no bare name.
  const filters = program === 'crun' ? crunFilters() : NO_FILTERS
  const command = (...args: string[]) => runAny(program, ['--root', root, ...args], { timeoutMs: COMMAND_MS })

  const forget = async (id: string) => {
    await Promise.all([pidFile(id), monitorFile(id), exitFile(id)].map(path => rm(path, { force: true })))
  }
  const monitorOf = async (id: string) => {
    const pid = await readPid(monitorFile(id))
    return pid !== undefined && commandLine(pid).includes(id) ? pid : undefined // The number may be another's by now.
  }
  const remove = async (id: string) => {
    if (existsSync(join(root, id))) await command('delete', '--force', id)
    await removeCgroup(cgroupOf(id))
    await removeReachable(reachablePath(instance, id))
    await endMonitor(id)
    await rm(join(root, id), { recursive: true, force: true })
    await forget(id)
  }
  /** A monitor ends by itself once its container has and how is written: later, that would be read as another run's end. */
  const endMonitor = async (id: string) => {
    for (const signal of [undefined, 'SIGTERM', 'SIGKILL'] as const) {
      const pid = await monitorOf(id)
      if (pid === undefined) return
      if (signal) signalProcess(pid, signal)
      const deadline = systemClock.now() + MONITOR_END_MS
      while ((await monitorOf(id)) !== undefined && systemClock.now() < deadline) await systemClock.sleep(5)
    }
  }

  return {
    name: program,
    create: async (id, bundle) => {
      await remove(id) // What an earlier run or a killed attempt left would stand in the way.
      const { path } = bundle
      requireOwnFolders(bundle.config.root.path)
      await using reachable = await withReachableRoot(bundle.config, reachablePath(instance, id))
      const { config } = reachable
      await mkdir(bundle.statePath, { recursive: true, mode: 0o700 })
      await writeFile(join(path, 'config.json'), configText(filters.compiled(config)), { mode: 0o600 })
      try {
        const result = await launchMonitor('conmon', monitorArgs(id, bundle))
        if (result.pid === undefined) throw startFailure(program, result.message)
      } catch (error) {
        await remove(id)
        throw error
      }
      await filters.keep(config, join(root, id))
    },
    start: async id => {
      const { exitCode, stderr } = await command('start', id)
      if (exitCode !== 0) throw startFailure(program, stderr)
    },
    kill: async (id, signal) => {
      const { exitCode, stderr } = await command('kill', id, signal)
      if (exitCode === 0) return
      const pid = await readPid(pidFile(id))
      // Its monitor may not have written yet how it ended.
      if (pid !== undefined && isAlive(id, pid))
        throw new SlipwayError('host.command-failed', `${program} kill: ${stderr.trim()}`)
    },
    pause: async id => void (await run(program, ['--root', root, 'pause', id])),
    resume: async id => void (await run(program, ['--root', root, 'resume', id])),
    probe: (id, process, options) => runProbe({ program, root, folder: probes, cgroupOf }, id, process, options),
    delete: remove,
    inspect,
    list: async () => {
      const found = await Promise.all([readdir(root), readdir(exits), readdir(pids), listCgroups(instance)])
      return [...new Set(found.flat().map(name => name.replace(/\.monitor$/, '')))].filter(isId)
    },
    watchExits: onExit => {
      const watcher = watch(exits, { persistent: false }, (_event, name) => {
        if (name !== null && isId(name)) onExit(name)
      })
      watcher.on('error', () => {}) // A doorbell may be missed; the next full pass looks.
      return { [Symbol.dispose]: () => watcher.close() }
    },
  }

  function monitorArgs(id: string, bundle: Bundle): string[] {
    return [
      ...['--api-version', '1', '-c', id, '-u', id, '-n', id, '-r', programFile, '-b', bundle.path],
      ...['-p', pidFile(id), '-P', monitorFile(id), '-l', `k8s-file:${bundle.logPath}`, '--exit-dir', exits],
      ...(bundle.config.process.terminal ? ['-t'] : []),
      ...(bundle.stdin ? ['-i', ...(bundle.stdin === 'open' ? ['--leave-stdin-open'] : [])] : []),
      ...['--full-attach', '--no-sync-log', '--runtime-arg', '--root', '--runtime-arg', root],
    ]
  }

  async function inspect(id: string): Promise<RuntimeState> {
    const began = await stat(pidFile(id)).catch(() => undefined)
    const startedAt = began && Math.round(began.mtimeMs)
    const pid = await readPid(pidFile(id))
    // What lives has not ended, whatever an exit file of an earlier run says.
    if (pid !== undefined && startedAt !== undefined && isAlive(id, pid)) return liveState(id, pid, startedAt)
    const ended = await readExit(exitFile(id))
    const exited = async (end: { exitCode: number | undefined; finishedAt: number | undefined }) => {
      const isOutOfMemory = (await memoryKills(cgroupOf(id))) > 0
      return { state: 'exited' as const, ...end, startedAt, isOutOfMemory }
    }
    if (ended) return exited(ended)
    if (pid === undefined || startedAt === undefined) return { state: 'absent' }
    // It has ended, and its monitor is about to write how.
    if ((await monitorOf(id)) !== undefined) return { state: 'running', pid, startedAt }
    const late = (await readExit(exitFile(id))) ?? { exitCode: undefined, finishedAt: undefined }
    return exited(late)
  }

  function isAlive(id: string, pid: number): boolean {
    const facts = processFacts(pid)
    return facts !== undefined && facts.state !== 'Z' && facts.cgroups.some(path => path.endsWith(cgroupOf(id)))
  }

  async function liveState(id: string, pid: number, startedAt: number): Promise<RuntimeState> {
    if (existsSync(join(root, id, 'exec.fifo'))) return { state: 'created', pid }
    return (await isFrozen(cgroupOf(id))) ? { state: 'paused', pid, startedAt } : { state: 'running', pid, startedAt }
  }
}
