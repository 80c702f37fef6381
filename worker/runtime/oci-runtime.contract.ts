import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { newId } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { cgroupRoot, prepareCgroups, removeCgroups } from '#worker/host/cgroup.ts'
import { maxOpenFiles } from '#worker/host/process.ts'
import { DEFAULT_CAPABILITIES } from './isolation.ts'
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

    const make = async (script: string) => {
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
      await runtime.create(id, { config, path, logPath, statePath: path })
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

    test('a program that is not there is named, and leaves nothing', async () => {
      const id = newId(bytes => crypto.getRandomValues(bytes))
      const { id: good } = await make('true')
      const config = JSON.parse(readFileSync(join(folder, good, 'config.json'), 'utf8'))
      config.process.args = ['no-such-program']
      config.linux.cgroupsPath = `${cgroupRoot(instance)}/${id}`
      const path = join(folder, id)
      mkdirSync(path)
      const attempt = runtime
        .create(id, { config, path, logPath: join(path, 'log'), statePath: path })
        .then(() => runtime.start(id))
      await expect(attempt).rejects.toMatchObject({ code: 'container.command-not-found' })
      await runtime.delete(id)
      await runtime.delete(good)
      expect(await runtime.list()).toEqual([])
    })
  })
}
