import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import { DEFAULT_CAPABILITIES } from '#shared/domain/capabilities.ts'
import { newId } from '#shared/domain/ids.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { cgroupRoot, prepareCgroups, removeCgroups } from '#worker/host/cgroup.ts'
import { maxOpenFiles } from '#worker/host/process.ts'
import { configText } from './config-text.ts'
import type { Attachment, ExecRuntime, ExecStart } from './exec-runtime.ts'
import type { OciRuntimeConfig } from './oci-config.ts'
import type { RuntimeFolders } from './oci-runtime.contract.ts'
import type { OciRuntime } from './oci-runtime.ts'
import { runtimeConfig } from './runtime-config.ts'
import { DEFAULT_PROFILE, readSeccompProfile, seccompFor } from './seccomp.ts'

type Opened = { runtime: OciRuntime; execs: ExecRuntime }

/** What every ExecRuntime does. Needs root and busybox-static. */
export function describeExecRuntime(
  name: string,
  instance: string,
  open: (folders: RuntimeFolders) => Promise<Opened>,
): void {
  describe(`exec: ${name}`, () => {
    const folder = mkdtempSync(join(tmpdir(), `slipway-${instance}-`))
    const folders = { instance, runFolder: join(folder, 'run'), dataFolder: join(folder, 'data') }
    const rootfs = join(folder, 'rootfs')
    const id = newId(bytes => crypto.getRandomValues(bytes))
    const never = new AbortController().signal
    let opened: Opened
    let config: OciRuntimeConfig

    beforeAll(async () => {
      for (const path of ['bin', 'proc', 'sys', 'dev', 'tmp']) mkdirSync(join(rootfs, path), { recursive: true })
      copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'))
      for (const applet of ['sh', 'sleep', 'cat', 'ls', 'stty', 'head', 'wc', 'id', 'cmp']) {
        symlinkSync('busybox', join(rootfs, 'bin', applet))
      }
      mkdirSync(folders.runFolder, { recursive: true })
      await prepareCgroups(folders.runFolder)
      opened = await open(folders)
      const profile = await readSeccompProfile(DEFAULT_PROFILE)
      config = runtimeConfig({
        spec: {
          command: ['sh', '-c', 'while read x; do echo got $x; done; sleep 1000'],
          env: [],
          resources: {},
          isReadOnly: false,
        },
        ...{ image: {}, user: { uid: 0, gid: 0, additionalGids: [], home: '/' }, rootfs, netns: undefined, files: {} },
        ...{ cgroupPath: `${cgroupRoot(instance)}/${id}`, hostname: 'test', maxOpenFiles: maxOpenFiles() },
        seccomp: seccompFor(profile, process.arch === 'arm64' ? 'arm64' : 'amd64', DEFAULT_CAPABILITIES),
      })
      const path = join(folder, id)
      mkdirSync(path)
      await opened.runtime.create(id, { config, path, logPath: join(path, 'log'), statePath: path, stdin: 'open' })
      await opened.runtime.start(id)
    })
    afterAll(async () => {
      for (const found of await opened.runtime.list()) await opened.runtime.delete(found)
      await removeCgroups(instance, folders.runFolder)
      expect(await waitUntil(async () => monitorsBelow(folder) === '', 5000)).toBe(true)
      rmSync(folder, { recursive: true, force: true })
    })

    let sessions = 0
    const begin = async (script: string | string[], extra: Partial<ExecStart> & { tty?: boolean } = {}) => {
      const session = join(folder, 'run/exec', String(++sessions))
      mkdirSync(session, { recursive: true })
      const { tty = false, ...rest } = extra
      const args = typeof script === 'string' ? ['sh', '-c', script] : script
      const attachment = await opened.execs.start({
        ...{ containerId: id, folder: session, hasStdin: false, isDetached: false },
        process: { ...config.process, terminal: tty, args },
        ...rest,
      })
      return { session, attachment: attachment as Attachment }
    }
    const written = async (attachment: Attachment) => {
      const texts = { stdout: '', stderr: '' }
      for await (const { channel, bytes } of attachment.output(never)) texts[channel] += Buffer.from(bytes).toString()
      attachment.close()
      return texts
    }
    const endOf = async (session: string) => {
      await expect.poll(async () => (await opened.execs.inspect(session)).state, { timeout: 10_000 }).toBe('exited')
      return opened.execs.inspect(session)
    }

    test('what it writes is told apart, from the first byte; its exit code is kept', async () => {
      const { session, attachment } = await begin('echo out; echo err >&2; exit 5')
      expect(await written(attachment)).toEqual({ stdout: 'out\n', stderr: 'err\n' })
      expect(await endOf(session)).toMatchObject({ exitCode: 5 })
    })

    test('it has the limits of its container as the file says them, unlimited ones too', async () => {
      const read = JSON.parse(configText([{ type: 'RLIMIT_CORE', hard: -1, soft: -1 }]))
      const process = { ...config.process, rlimits: read, terminal: false, args: ['sh', '-c', 'ulimit -c'] }
      const { attachment } = await begin('', { process })
      expect((await written(attachment)).stdout).toBe('unlimited\n')
    })

    test('stdin comes in order and ends', async () => {
      const { session, attachment } = await begin('cat', { hasStdin: true })
      for (let line = 0; line < 100; line++) expect(await attachment.write(Buffer.from(`${line}\n`))).toBe(true)
      attachment.endInput()
      const lines = Array.from({ length: 100 }, (_, line) => `${line}\n`)
      expect((await written(attachment)).stdout).toBe(lines.join(''))
      expect(await endOf(session)).toMatchObject({ exitCode: 0 })
    })

    test('a process that nobody reads waits, and loses nothing', async () => {
      const { session, attachment } = await begin('head -c 5000000 /dev/zero; echo > /tmp/done')
      await systemClock.sleep(500)
      expect((await opened.execs.inspect(session)).state).toBe('running')
      expect((await written(attachment)).stdout.length).toBe(5_000_000)
      expect(await endOf(session)).toMatchObject({ exitCode: 0 })
    })

    test('a process that reads nothing makes who writes wait', async () => {
      const { session, attachment } = await begin('sleep 1; cat | wc -c', { hasStdin: true })
      let isTaken = false
      const writing = attachment.write(Buffer.alloc(2_000_000)).then(() => (isTaken = true))
      await systemClock.sleep(300)
      expect(isTaken).toBe(false)
      await writing
      attachment.endInput()
      expect((await written(attachment)).stdout).toBe('2000000\n')
      await endOf(session)
    })

    test('a terminal has the size that it is given', async () => {
      const { session, attachment } = await begin(
        // A size and what is typed go two ways: either may come first.
        'read x; until [ "$(stty size)" = "37 91" ]; do sleep 0.05; done; stty size; exit 3',
        { tty: true },
      )
      await opened.execs.resize(session, { columns: 91, rows: 37 })
      await attachment.write(Buffer.from('go\n'))
      expect((await written(attachment)).stdout).toContain('37 91\r\n')
      expect(await endOf(session)).toMatchObject({ exitCode: 3 })
      await opened.execs.resize(session, { columns: 1, rows: 1 }) // It has ended: no error.
    })

    test('another agent finds what runs, attaches to it, and reads how it ended', async () => {
      const { session, attachment } = await begin('read x; echo one $x; read x; echo two $x; exit 9', { tty: true })
      await attachment.write(Buffer.from('a\n'))
      let seen = ''
      for await (const { bytes } of attachment.output(never)) {
        seen += Buffer.from(bytes).toString()
        if (seen.includes('one a\r\n')) break
      }
      attachment.close()
      const other = await open(folders)
      expect((await other.execs.inspect(session)).state).toBe('running')
      const again = other.execs.attach(session)
      await again.write(Buffer.from('b\n'))
      expect((await written(again)).stdout).toContain('two b\r\n')
      expect(await endOf(session)).toMatchObject({ exitCode: 9 })
    })

    test('an agent that died: what was not read waits for the next one, and stdin stays open', async () => {
      const { session, attachment } = await begin('head -c 2000000 /dev/zero; cat; exit 2', { hasStdin: true })
      const leaving = new AbortController()
      let seen = 0
      for await (const { bytes } of attachment.output(leaving.signal)) {
        seen += bytes.length
        break
      }
      // Its connection goes with a process that dies; here that of another agent is another descriptor.
      const other = await open(folders)
      expect(other.execs.isHeld(session)).toBe(true)
      const again = other.execs.attach(session)
      await again.write(Buffer.from('still open'))
      again.endInput()
      const rest = (await written(again)).stdout
      expect(rest).toMatch(/still open$/)
      expect(await endOf(session)).toMatchObject({ exitCode: 2 })
      expect(other.execs.isHeld(session)).toBe(false)
      expect(seen + rest.length).toBeGreaterThan(1_000_000) // What the first agent had read ahead is its own.
      attachment.close()
    })

    test('a detached one ends by itself; one that is ended is gone with its monitor', async () => {
      const { session } = await begin('exit 4', { isDetached: true })
      expect(await endOf(session)).toMatchObject({ exitCode: 4 })
      const { session: long } = await begin('sleep 1000', { isDetached: true })
      await opened.execs.end(long)
      expect(await opened.execs.inspect(long)).toMatchObject({ state: 'exited', exitCode: 137 })
      expect(monitorsBelow(long)).toBe('')
    })

    test('a monitor that was killed leaves an end without a code', async () => {
      const { session } = await begin('sleep 1000', { isDetached: true })
      const seen = await opened.execs.inspect(session)
      process.kill(Number(readFileSync(join(session, 'monitor'), 'utf8')), 'SIGKILL')
      expect(await endOf(session)).toMatchObject({ exitCode: undefined })
      if (seen.state === 'running') process.kill(seen.pid, 'SIGKILL')
    })

    test('it is as confined as its container, in the same cgroup, with nothing else open', async () => {
      const script = `cat /proc/self/status; ls /proc/$$/fd; cat /proc/1/cgroup >/tmp/a; cat /proc/self/cgroup >/tmp/b; cmp /tmp/a /tmp/b`
      const { session, attachment } = await begin(script)
      const { stdout } = await written(attachment)
      expect(stdout).toMatch(/NoNewPrivs:\s+1[\s\S]*Seccomp:\s+2[\s\S]*Seccomp_filters:\s+1/)
      expect(stdout).toMatch(/\n0\n1\n2\n$/)
      expect(await endOf(session)).toMatchObject({ exitCode: 0 })
    })

    test.each([
      ['no-such-program', 'container.command-not-found'],
      ['/tmp', 'container.command-not-executable'],
    ])('%s is %s, and leaves no monitor', async (program, code) => {
      await expect(begin([program])).rejects.toMatchObject({ code })
      await expect.poll(() => monitorsBelow(join(folder, 'run/exec', String(sessions)))).toBe('')
    })

    test("a container's own process takes what somebody sends, and goes on when they leave", async () => {
      const path = join(folder, id)
      for (const text of ['x', 'y']) {
        const attachment = opened.execs.attach(path)
        await attachment.write(Buffer.from(`${text}\n`))
        for await (const { bytes } of attachment.output(never)) {
          expect(Buffer.from(bytes).toString()).toBe(`got ${text}\n`)
          break
        }
        attachment.close()
      }
      expect((await opened.runtime.inspect(id)).state).toBe('running')
    })
  })
}

function monitorsBelow(folder: string): string {
  const found = execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' })
  return found
    .split('\n')
    .filter(line => line.startsWith('conmon') && line.includes(folder))
    .join('\n')
}
