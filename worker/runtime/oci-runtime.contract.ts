import { execFileSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { DEFAULT_CAPABILITIES } from '#shared/domain/capabilities.ts'
import { newId } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { processesOf } from '#test/support/processes.ts'
import { cgroupRoot, prepareCgroups, removeCgroups } from '#worker/host/cgroup.ts'
import { commandLine, maxOpenFiles } from '#worker/host/process.ts'
import type { OciRuntimeConfig } from './oci-config.ts'
import type { OciRuntime, RuntimeState } from './oci-runtime.ts'
import { runtimeConfig } from './runtime-config.ts'
import { DEFAULT_PROFILE, readSeccompProfile, seccompFor } from './seccomp.ts'

export interface RuntimeFolders {
  instance: string
  runFolder: string
  dataFolder: string
}

/** What every OciRuntime does. Needs root and busybox-static. */
export function describeRuntime(
  name: string,
  instance: string,
  open: (folders: RuntimeFolders) => Promise<OciRuntime>,
): void {
  describe(`runtime: ${name}`, () => {
    const folder = mkdtempSync(join(tmpdir(), `slipway-${instance}-`))
    const folders = { instance, runFolder: join(folder, 'run'), dataFolder: join(folder, 'data') }
    const rootfs = join(folder, 'rootfs')
    let runtime: OciRuntime

    beforeAll(async () => {
      for (const path of ['bin', 'proc', 'sys', 'dev', 'tmp']) mkdirSync(join(rootfs, path), { recursive: true })
      copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'))
      for (const applet of ['sh', 'sleep', 'cat', 'echo']) symlinkSync('busybox', join(rootfs, 'bin', applet))
      mkdirSync(folders.runFolder, { recursive: true })
      await prepareCgroups(folders.runFolder)
      runtime = await open(folders)
    })
    afterAll(async () => {
      for (const id of await runtime.list()) await runtime.delete(id)
      await removeCgroups(instance, folders.runFolder)
      expect(execFileSync('find', ['/sys/fs/cgroup', '-name', `slipway-${instance}`], { encoding: 'utf8' })).toBe('')
      rmSync(folder, { recursive: true, force: true })
    })

    const make = (script: string) => makeWith(config => config, script)
    const makeWith = async (change: (config: OciRuntimeConfig) => OciRuntimeConfig, script = 'true') => {
      const id = newId(bytes => crypto.getRandomValues(bytes))
      const path = join(folder, id)
      const logPath = join(path, 'log')
      const profile = await readSeccompProfile(DEFAULT_PROFILE)
      mkdirSync(path)
      const config = runtimeConfig({
        spec: { command: ['sh', '-c', script], env: [], resources: {}, isReadOnly: false },
        ...{ image: {}, user: { uid: 0, gid: 0, additionalGids: [], home: '/' }, rootfs, netns: undefined, files: {} },
        ...{ cgroupPath: `${cgroupRoot(instance)}/${id}`, hostname: 'test', maxOpenFiles: maxOpenFiles() },
        seccomp: seccompFor(profile, process.arch === 'arm64' ? 'arm64' : 'amd64', DEFAULT_CAPABILITIES),
      })
      try {
        await runtime.create(id, { config: change(config), path, logPath, statePath: path })
      } catch (error) {
        await runtime.delete(id)
        throw error
      }
      return { id, logPath }
    }
    const until = async (id: string, state: RuntimeState['state']) => {
      const deadline = Date.now() + 10_000
      for (;;) {
        const seen = await runtime.inspect(id)
        if (seen.state === state || Date.now() > deadline) return seen
        await systemClock.sleep(20)
      }
    }

    test('a command waits for its start, runs, logs, and ends with its exit code', async () => {
      const { id, logPath } = await make('echo out; echo err >&2; exit 5')
      expect(await runtime.inspect(id)).toMatchObject({ state: 'created' })
      expect(await runtime.list()).toContain(id)
      await runtime.start(id)
      expect(await until(id, 'exited')).toMatchObject({ state: 'exited', exitCode: 5 })
      const log = readFileSync(logPath, 'utf8')
      expect(log).toMatch(/stdout F out/)
      expect(log).toMatch(/stderr F err/)
      await runtime.delete(id)
      expect(await runtime.inspect(id)).toEqual({ state: 'absent' })
      expect(await runtime.list()).not.toContain(id)
    })

    test('a second container of the same profile is as confined as the first', async () => {
      const { id, logPath } = await make('cat /proc/self/status')
      await runtime.start(id)
      await until(id, 'exited')
      expect(readFileSync(logPath, 'utf8')).toMatch(/Seccomp:\s+2[\s\S]*Seccomp_filters:\s+1/)
      await runtime.delete(id)
    })

    test('signals end it with 128 and their number; one that has ended takes them without an error', async () => {
      const { id } = await make('sleep 100')
      await runtime.start(id)
      await runtime.kill(id, 'SIGKILL')
      expect(await until(id, 'exited')).toMatchObject({ exitCode: 137 })
      await runtime.kill(id, 'SIGTERM')
      await runtime.delete(id)
    })

    test('a pause freezes it, and resuming goes on', async () => {
      const { id } = await make('sleep 100')
      await runtime.start(id)
      await runtime.pause(id)
      expect((await runtime.inspect(id)).state).toBe('paused')
      await runtime.resume(id)
      expect((await runtime.inspect(id)).state).toBe('running')
      await runtime.delete(id)
    })

    test('one more process in it says how it went, and is killed at the end of its time with what it began', async () => {
      const { id } = await make('exec sleep 100')
      await runtime.start(id)
      const { process: first }: OciRuntimeConfig = JSON.parse(readFileSync(join(folder, id, 'config.json'), 'utf8'))
      const probe = (script: string, timeoutMs: number) => {
        const options = { timeoutMs, outputBytes: 5, signal: new AbortController().signal, endsLeftovers: false }
        return runtime.probe(id, { ...first, args: ['sh', '-c', script] }, options)
      }
      expect(await probe('echo 123456789; exit 3', 20_000)).toEqual({ exitCode: 3, isOverdue: false, output: '12345' })
      const mark = instance === 'trcrun' ? '7446301' : '7446302'
      const late = await probe(`echo late; sleep ${mark} & sleep ${mark}`, 700)
      expect(late).toMatchObject({ isOverdue: true, output: 'late\n' })
      expect(processesOf(mark)).toEqual([])
      expect((await runtime.inspect(id)).state).toBe('running')
      await runtime.delete(id)
    })

    test('another agent finds what runs, and hears how it ends', async () => {
      const { id } = await make('sleep 0.5; exit 9')
      await runtime.start(id)
      const other = await open(folders)
      expect((await other.inspect(id)).state).toBe('running')
      const { promise, resolve } = Promise.withResolvers<string>()
      using _ = other.watchExits(resolve)
      expect(await promise).toBe(id)
      expect(await other.inspect(id)).toMatchObject({ state: 'exited', exitCode: 9 })
      await other.delete(id)
    })

    test('a slow monitor writes nothing after its container was removed: the next run lives', async () => {
      const { id, logPath } = await make('sleep 100')
      await runtime.start(id)
      const monitor = Number(readFileSync(join(folders.runFolder, 'pids', `${id}.monitor`), 'utf8'))
      process.kill(monitor, 'SIGSTOP')
      const waking = systemClock.sleep(150).then(() => process.kill(monitor, 'SIGCONT'))
      const path = join(folder, id)
      const config = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'))
      await runtime.create(id, { config, path, logPath, statePath: path })
      await runtime.start(id)
      await waking
      await systemClock.sleep(200)
      expect((await runtime.inspect(id)).state).toBe('running')
      await runtime.delete(id)
      expect(await runtime.inspect(id)).toEqual({ state: 'absent' })
    })

    test('a monitor that hangs is ended', async () => {
      const { id } = await make('sleep 100')
      const monitor = Number(readFileSync(join(folders.runFolder, 'pids', `${id}.monitor`), 'utf8'))
      process.kill(monitor, 'SIGSTOP')
      await runtime.delete(id)
      expect(commandLine(monitor).join(' ')).not.toContain(id)
    })

    test('what lives has not ended, whatever an exit file of an earlier run says', async () => {
      const { id } = await make('sleep 100')
      await runtime.start(id)
      writeFileSync(join(folders.dataFolder, 'exits', id), '137')
      expect((await runtime.inspect(id)).state).toBe('running')
      await runtime.delete(id)
    })

    test('an end that nobody saw has no code and no time', async () => {
      const { id } = await make('sleep 100')
      await runtime.start(id)
      const state = await runtime.inspect(id)
      const monitor = Number(readFileSync(join(folders.runFolder, 'pids', `${id}.monitor`), 'utf8'))
      process.kill(monitor, 'SIGKILL')
      await systemClock.sleep(100)
      if (state.state === 'running') process.kill(state.pid, 'SIGKILL')
      expect(await until(id, 'exited')).toMatchObject({ exitCode: undefined, finishedAt: undefined })
      await runtime.delete(id)
    })

    test.each([
      ['no-such-program', 'container.command-not-found'],
      ['/no/such/program', 'container.command-not-found'],
      ['/plain', 'container.command-not-executable'],
      ['/tmp', 'container.command-not-executable'],
    ])('%s is %s, and leaves nothing', async (program, code) => {
      writeFileSync(join(rootfs, 'plain'), 'text', { mode: 0o644 })
      const attempt = makeWith(config => ({ ...config, process: { ...config.process, args: [program] } }))
      await expect(attempt).rejects.toThrow(expect.objectContaining({ code }))
      expect(await runtime.list()).toEqual([])
    })

    test.each(['dev', 'proc', 'sys'])(
      'a link in place of /%s is refused, and nothing comes to lie where it leads',
      async name => {
        const [other, outside] = [join(folder, `linked-${name}`), join(folder, `outside-${name}`)]
        cpSync(rootfs, other, { recursive: true, verbatimSymlinks: true })
        rmSync(join(other, name), { recursive: true })
        mkdirSync(outside)
        symlinkSync(outside, join(other, name))
        const attempt = makeWith(config => ({ ...config, root: { ...config.root, path: other } }))
        await expect(attempt).rejects.toMatchObject({ code: 'container.files-unsafe' })
        expect(readdirSync(outside)).toEqual([])
        expect(await runtime.list()).toEqual([])
      },
    )

    test("a fault of the host is not the command's", async () => {
      const gone = { type: 'network', path: '/run/netns/slw-gone' }
      const attempt = makeWith(config => ({ ...config, linux: { ...config.linux, namespaces: [gone] } }))
      await expect(attempt).rejects.toMatchObject({ code: 'container.start-failed' })
      expect(await runtime.list()).toEqual([])
    })
  })
}
