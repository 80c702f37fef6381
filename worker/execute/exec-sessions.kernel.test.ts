import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { type ExecSession, type ExecSpec, execSessionSchema } from '#shared/domain/exec.ts'
import { type ExecId, newId } from '#shared/domain/ids.ts'
import { type Clock, systemClock } from '#shared/ports/clock.ts'
import type { ExecOrder } from '#shared/protocol/bus.ts'
import { CHANNEL } from '#shared/protocol/channels.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { openAttach } from './attach.ts'
import { createExecSessions, type ExecSessions, LONELY_MS } from './exec-sessions.ts'
import { runContainer } from './run-container.ts'

/** Sessions over the real ports of a host: who is looked up where, what is refused, what is forgotten. */
describe('exec sessions', () => {
  let host: TestHost
  let want: DesiredContainer
  let sessions: ExecSessions
  let late = 0
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + late }
  const never = new AbortController().signal
  const find = (id: string) => (id === want.id ? want : undefined)

  beforeAll(async () => {
    host = await openTestHost('texecs', 87)
    want = host.want(['sleep', '1000'])
    await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, host.ports)
    sessions = createExecSessions({ ...host.ports, clock }, find)
  })
  afterAll(() => host[Symbol.asyncDispose]())

  const ask = async (order: ExecOrder): Promise<ExecSession[]> => {
    let text = ''
    for await (const bytes of sessions.answer(order, never)) text += Buffer.from(bytes).toString()
    return text
      .split('\n')
      .filter(Boolean)
      .map(line => execSessionSchema.parse(JSON.parse(line)))
  }
  const begin = async (script: string, extra: Partial<ExecSpec> = {}) => {
    const execId = newId<ExecId>(bytes => crypto.getRandomValues(bytes))
    const spec = { command: ['sh', '-c', script], tty: false, stdin: false, env: [], isDetached: false, ...extra }
    const [session] = await ask({ kind: 'exec', containerId: want.id, execId, spec })
    return { session, key: { containerId: want.id, execId } }
  }
  type Begun = Awaited<ReturnType<typeof begin>>
  async function* leavesAt(signal: AbortSignal) {
    if (!signal.aborted) await new Promise(resolve => signal.addEventListener('abort', resolve))
  }
  const outputOf = async ({ key }: Begun) => {
    const leave = new AbortController()
    let text = ''
    const order = { kind: 'exec-attach', ...key } as const
    const messages = openAttach(order, { ...host.ports, clock }, sessions, find, leavesAt(leave.signal), leave.signal)
    for await (const message of messages) {
      if (message[0] === CHANNEL.stdout) text += Buffer.from(message.subarray(1)).toString()
    }
    leave.abort()
    return text
  }
  const stateOf = async ({ key }: Begun, waitMs = 10_000) => (await ask({ kind: 'exec-state', ...key, waitMs }))[0]

  test("a user is looked up in the container's files, wherever their links lead", async () => {
    const passwd = 'someone:x:0:4321::/:/bin/sh\n'
    await outputOf(
      await begin(
        `printf '${passwd}' > /tmp/accounts; busybox rm -f /etc/passwd; busybox ln -s /tmp/accounts /etc/passwd`,
      ),
    )
    const mine = 'slipway-exec-accounts'
    writeFileSync(join('/tmp', mine), 'someone:x:0:1::/:/bin/sh\nhostile:x:0:1::/:/bin/sh\n')
    try {
      const shown = 'busybox id -g'
      expect(await outputOf(await begin(shown, { user: 'someone' }))).toBe('4321\n')
      await outputOf(await begin(`busybox rm /etc/passwd; busybox ln -s ../../../../../tmp/${mine} /etc/passwd`))
      await expect(begin(shown, { user: 'hostile' })).rejects.toMatchObject({ code: 'container.user-not-found' })
      await outputOf(await begin('busybox rm /etc/passwd; busybox ln -s /etc/passwd /etc/passwd'))
      await expect(begin(shown, { user: 'someone' })).rejects.toMatchObject({ code: 'host.kernel-refused' })
    } finally {
      execFileSync('rm', ['-f', join('/tmp', mine)])
      await outputOf(await begin('busybox rm -f /etc/passwd'))
    }
  })

  test('what nobody attaches to waits for a minute, then it goes on and what it writes is dropped', async () => {
    const begun = await begin('busybox head -c 3000000 /dev/zero; echo done > /tmp/done; exit 3')
    expect(await stateOf(begun, 500)).toMatchObject({ state: 'running' })
    await sessions.sweep()
    expect(await stateOf(begun, 200)).toMatchObject({ state: 'running' })
    late += LONELY_MS + 1
    await sessions.sweep()
    expect(await stateOf(begun)).toMatchObject({ state: 'exited', exitCode: 3 })
    expect(sessions.live.has(begun.key.execId)).toBe(false)
    expect(await outputOf(begun)).toBe('')
  })

  test('an end is remembered for ten minutes, then its folder goes', async () => {
    const begun = await begin('exit 2', { isDetached: true })
    expect(await stateOf(begun)).toMatchObject({ exitCode: 2 })
    late += 8 * 60_000
    await sessions.sweep()
    expect(await stateOf(begun)).toMatchObject({ exitCode: 2 })
    late += 3 * 60_000
    await sessions.sweep()
    await expect(stateOf(begun)).rejects.toMatchObject({ code: 'exec.not-found' })
  })

  test('64 at once are enough; a paused container and one that is down take none', async () => {
    const many = await Promise.all(Array.from({ length: 16 }, () => begin('sleep 100', { isDetached: true })))
    for (let begun = many.length; begun < 64; begun += 16) {
      await Promise.all(Array.from({ length: 16 }, () => begin('sleep 100', { isDetached: true })))
    }
    await expect(begin('true')).rejects.toMatchObject({ code: 'exec.too-many' })
    await host.ports.runtime.pause(want.id)
    await expect(begin('true')).rejects.toMatchObject({ code: 'container.paused' })
    await host.ports.runtime.resume(want.id)
    await host.ports.runtime.kill(want.id, 'SIGKILL')
    // They end with their container, and the monitors with them.
    for (const begun of many) expect(await stateOf(begun)).toMatchObject({ state: 'exited', exitCode: 137 })
    await expect(begin('true')).rejects.toMatchObject({ code: 'container.not-running' })
    const folder = join(host.ports.execFolder, want.id)
    expect(existsSync(folder)).toBe(true)
    await createExecSessions({ ...host.ports, clock }, () => undefined).sweep()
    expect(existsSync(folder)).toBe(false)
  })
})
