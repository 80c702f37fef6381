import { existsSync, watch } from 'node:fs'
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { cgroupRoot, isFrozen, listCgroups, removeCgroup } from '#worker/host/cgroup.ts'
import { launchMonitor } from '#worker/host/monitor.ts'
import { commandLine, processFacts, signalProcess } from '#worker/host/process.ts'
import { run, runAny } from '#worker/host/run.ts'
import { crunFilters, NO_FILTERS } from './crun-filters.ts'
import type { Bundle, OciRuntime, RuntimeState } from './oci-runtime.ts'

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

/** An OCI runtime below conmon, one monitor a container. Everything is read from files and /proc; nothing is remembered. */
export async function openConmonRuntime(options: ConmonRuntimeOptions): Promise<OciRuntime> {
  const { program, instance } = options
  const root = join(options.runFolder, program)
  const pids = join(options.runFolder, 'pids')
  const exits = join(options.dataFolder, 'exits')
  for (const folder of [root, pids, exits]) await mkdir(folder, { recursive: true, mode: 0o700 })
  const pidFile = (id: string) => join(pids, id)
  const monitorFile = (id: string) => join(pids, `${id}.monitor`)
  const exitFile = (id: string) => join(exits, id)
  const cgroupOf = (id: string) => `${cgroupRoot(instance)}/${id}`
  const filters = program === 'crun' ? crunFilters() : NO_FILTERS
  const command = (...args: string[]) => runAny(program, ['--root', root, ...args], { timeoutMs: COMMAND_MS })

  const forget = async (id: string) => {
    await Promise.all([pidFile(id), monitorFile(id), exitFile(id)].map(path => rm(path, { force: true })))
  }
  const remove = async (id: string) => {
    if (existsSync(join(root, id))) await command('delete', '--force', id)
    await removeCgroup(cgroupOf(id))
    const monitor = await readPid(monitorFile(id))
    // It ends by itself once its container has; one that does not (its runtime never came) is ended, if it is still it.
    if (monitor && commandLine(monitor).includes(id)) signalProcess(monitor, 'SIGTERM')
    await rm(join(root, id), { recursive: true, force: true })
    await forget(id)
  }

  return {
    name: program,
    create: async (id, bundle) => {
      await remove(id) // What an earlier run or a killed attempt left would stand in the way.
      await mkdir(bundle.statePath, { recursive: true, mode: 0o700 })
      const { config, path } = bundle
      await writeFile(join(path, 'config.json'), JSON.stringify(filters.compiled(config)), { mode: 0o600 })
      const result = await launchMonitor('conmon', monitorArgs(id, bundle))
      if (result.pid !== undefined) return filters.keep(config, join(root, id))
      await remove(id)
      throw startFailure(result.message)
    },
    start: async id => {
      const { exitCode, stderr } = await command('start', id)
      if (exitCode !== 0) throw startFailure(stderr)
    },
    kill: async (id, signal) => {
      const { exitCode, stderr } = await command('kill', id, signal)
      const isGone = exitCode !== 0 && (await inspect(id)).state !== 'running'
      if (exitCode !== 0 && !isGone) throw new SlipwayError('host.command-failed', `${program} kill: ${stderr.trim()}`)
    },
    pause: async id => void (await run(program, ['--root', root, 'pause', id])),
    resume: async id => void (await run(program, ['--root', root, 'resume', id])),
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
      ...['--api-version', '1', '-c', id, '-u', id, '-n', id, '-r', `/usr/bin/${program}`, '-b', bundle.path],
      ...['-p', pidFile(id), '-P', monitorFile(id), '-l', `k8s-file:${bundle.logPath}`, '--exit-dir', exits],
      ...['--full-attach', '--no-sync-log', '--runtime-arg', '--root', '--runtime-arg', root],
    ]
  }

  async function inspect(id: string): Promise<RuntimeState> {
    const began = await stat(pidFile(id)).catch(() => undefined)
    const startedAt = began && Math.round(began.mtimeMs)
    const ended = await readExit(exitFile(id))
    if (ended) return { state: 'exited', ...ended, startedAt }
    const pid = await readPid(pidFile(id))
    if (!pid || startedAt === undefined) return { state: 'absent' }
    const facts = processFacts(pid)
    const isOurs = facts?.cgroups.some(path => path.endsWith(cgroupOf(id))) ?? false
    if (facts && isOurs && facts.state !== 'Z') {
      if (existsSync(join(root, id, 'exec.fifo'))) return { state: 'created', pid }
      return (await isFrozen(cgroupOf(id))) ? { state: 'paused', pid, startedAt } : { state: 'running', pid, startedAt }
    }
    const monitor = await readPid(monitorFile(id))
    // It has ended, and its monitor is about to write how.
    if (monitor && commandLine(monitor).includes(id)) return { state: 'running', pid, startedAt }
    const late = await readExit(exitFile(id))
    return late
      ? { state: 'exited', ...late, startedAt }
      : { state: 'exited', exitCode: undefined, startedAt, finishedAt: startedAt }
  }

  function startFailure(message: string): SlipwayError {
    const why = message.trim().replaceAll(/\s+/g, ' ').slice(0, 1000)
    if (/executable file|not found in \$PATH|no such file or directory|permission denied/i.test(why)) {
      return new SlipwayError(
        'container.command-not-found',
        `The command cannot be run: ${why}. See that the image has it, and that it may be executed.`,
      )
    }
    return new SlipwayError('container.start-failed', `${program} could not start the container: ${why}`)
  }
}

async function readPid(path: string): Promise<number | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '')
  return /^\d+$/.test(text.trim()) ? Number(text) : undefined
}

/** The exit file appears by a rename, whole. */
async function readExit(path: string): Promise<{ exitCode: number; finishedAt: number } | undefined> {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  const info = text === undefined ? undefined : await stat(path).catch(() => undefined)
  if (text === undefined || !info || !/^\d+$/.test(text.trim())) return undefined
  return { exitCode: Number(text), finishedAt: Math.round(info.mtimeMs) }
}
