import { createHash } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import type { ApiClient } from '#infra/local/api-client.ts'
import { systemClock } from '#shared/ports/clock.ts'
import type { ExecView } from '#shared/protocol/exec.ts'
import { codeOf, logOf } from '#test/support/api.ts'
import { type AttachClientOptions, attachTo } from '#test/support/attach-client.ts'
import type { TestSlipway } from '#test/support/slipway.ts'

/** What survives the agent: needs the control plane to stay. */
export function describeExecSurvival(get: () => TestSlipway): void {
  test('kill -9 of the agent: exec sessions go on, one can attach again, no exit code is lost', async () => {
    const { api, agent } = get()
    const EXEC = '/v1/containers/survivor/exec'
    const begin = (script: string, extra: object) =>
      api.call<ExecView>('POST', EXEC, { command: ['sh', '-c', script], ...extra })
    await api.call('POST', '/v1/containers?wait=running', {
      image: 'busybox',
      name: 'survivor',
      command: ['sleep', '1000'],
    })
    const script = 'read a; echo got $a; read b; echo got $b; exit 6'
    const talks = await Promise.all([true, false].map(tty => begin(script, { tty, stdin: true })))
    const brief = await begin('sleep 1; exit 7', { detach: true })
    const attach = ({ id }: ExecView) => attachTo(get(), `${EXEC}/${id}/attach`)
    const clients = await Promise.all(talks.map(attach))
    for (const client of clients) {
      await client.write('one\n')
      await expect.poll(client.stdout, { timeout: 10_000 }).toContain('got one')
    }
    const before = agent.pid()
    process.kill(before ?? Number.NaN, 'SIGKILL')
    await expect.poll(agent.pid, { timeout: 20_000 }).not.toBe(before)
    const isBack = () =>
      api.call('GET', EXEC).then(
        () => true,
        () => false,
      )
    await expect.poll(isBack, { timeout: 30_000 }).toBe(true)
    for (const talk of talks) {
      await using again = await attach(talk)
      await again.write('two\n')
      expect((await again.ended).status?.details?.causes[0]?.message).toBe('6')
      expect(again.stdout()).toContain('got two')
    }
    expect(await api.call('GET', `${EXEC}/${brief.id}?wait=exited`)).toMatchObject({ state: 'exited', exitCode: 7 })
    for (const client of clients) client.vanish()
    await api.call('DELETE', '/v1/containers/survivor?force=true&wait=removed')
  })
}

/** `docker exec` through the API, on Node and on workerd alike. `get` gives a Slipway that has the image `busybox`. */
export function describeExec(get: () => TestSlipway): void {
  const call = <T>(...args: Parameters<ApiClient['call']>) => get().api.call<T>(...args)
  const EXEC = '/v1/containers/execs/exec'
  const run = (command: string[], extra: object = {}) =>
    call<ExecView>('POST', `${EXEC}?wait=exited&timeout=60`, { command, ...extra })
  const sh = (script: string, extra: object = {}) => run(['sh', '-c', script], extra)
  const begin = (script: string, extra: object = {}) =>
    call<ExecView>('POST', EXEC, { command: ['sh', '-c', script], ...extra })
  const attach = (id: string, options?: AttachClientOptions) => attachTo(get(), `${EXEC}/${id}/attach`, options)
  const state = (id: string, query = '') => call<ExecView>('GET', `${EXEC}/${id}${query}`)

  describe('exec', () => {
    beforeAll(async () => {
      await call('POST', '/v1/containers?wait=running', {
        ...{ image: 'busybox', name: 'execs', command: ['sleep', '1000'], env: ['OWN=1'], workdir: '/tmp' },
      })
    })

    test('one call: what it wrote on both, its input, its exit code', async () => {
      expect(await sh('cat; echo err >&2; exit 5', { input: 'in\n' })).toMatchObject({
        ...{ state: 'exited', exitCode: 5, stdout: 'in\n', stderr: 'err\n' },
      })
    })

    test("user, folder and variables: the container's, or what is asked for", async () => {
      const script = 'echo $(id -u):$(id -g) $PWD $OWN $MORE'
      expect((await sh(script)).stdout).toBe('0:0 /tmp 1\n')
      const extra = { user: '1000:7', workdir: '/etc', env: { OWN: '2', MORE: 'x' } }
      expect((await sh(script, extra)).stdout).toBe('1000:7 /etc 2 x\n')
      expect(await codeOf(sh('true', { user: 'nobody-here' }))).toBe('container.user-not-found')
      expect(
        await codeOf(
          run(['true', 'x'.repeat(130_000)], {
            env: Object.fromEntries(Array.from({ length: 5 }, (_, at) => [`V${at}`, 'y'.repeat(120_000)])),
          }),
        ),
      ).toBe('request.too-large')
    })

    test('it is as confined as the container, and nothing of its host is open in it', async () => {
      const { stdout = '' } = await sh('cat /proc/self/status; cat /proc/1/cgroup /proc/self/cgroup | sort -u | wc -l')
      expect(stdout).toMatch(/CapEff:\s+00000000a80425fb[\s\S]*NoNewPrivs:\s+1[\s\S]*Seccomp:\s+2/)
      const cgroups = await sh('cat /proc/1/cgroup > /tmp/one; cat /proc/self/cgroup > /tmp/own; cmp /tmp/one /tmp/own')
      expect(cgroups.exitCode).toBe(0)
      expect((await sh('ls /proc/$$/fd; true')).stdout).toBe('0\n1\n2\n')
      expect((await sh('grep CapEff /proc/self/status', { user: '1000' })).stdout).toMatch(/0{16}/)
    })

    test('127 and 126 for what cannot be run, as a shell has it', async () => {
      expect(await run(['no-such-program'])).toMatchObject({
        exitCode: 127,
        error: { code: 'container.command-not-found' },
      })
      expect(await run(['/etc'])).toMatchObject({ exitCode: 126, error: { code: 'container.command-not-executable' } })
      expect((await sh('kill -9 $$')).exitCode).toBe(137)
    })

    test('a session: attached before its first byte, stdin with an end, its exit code on the status channel', async () => {
      const { id } = await begin('echo first; cat; exit 3', { stdin: true })
      await using client = await attach(id)
      await client.write('hello\n')
      client.endInput()
      const { status, code } = await client.ended
      expect(client.stdout()).toBe('first\nhello\n')
      expect(status).toMatchObject({ status: 'Failure', details: { causes: [{ reason: 'ExitCode', message: '3' }] } })
      expect(code).toBe(1000)
      expect(await state(id, '?wait=exited')).toMatchObject({ state: 'exited', exitCode: 3 })
    })

    test('a terminal: echo, its size at the start, by a message and by a call', async () => {
      const { id } = await begin('exec sh', { tty: true, stdin: true, size: { columns: 90, rows: 33 } })
      await using client = await attach(id)
      // A size and what is typed go two ways: either may come first.
      const asked = (expected: string) => {
        const ask = () => client.write('stty size\n').then(client.stdout)
        return expect.poll(ask, { timeout: 10_000, interval: 200 }).toContain(expected)
      }
      await asked('\r\n33 90\r\n')
      client.resize(101, 41)
      await asked('\r\n41 101\r\n')
      await call('POST', `${EXEC}/${id}/resize`, { columns: 77, rows: 22 })
      await asked('\r\n22 77\r\n')
      await client.write('exit 4\n')
      expect((await client.ended).status?.details?.causes[0]?.message).toBe('4')
      expect(client.stdout()).toContain('stty size\r\n') // It echoed.
    })

    test('detached: it is not waited for, and ends by itself', async () => {
      const { id, state: first } = await begin('sleep 0.3; exit 9', { detach: true })
      expect(first).toBe('running')
      expect(await state(id, '?wait=exited&timeout=20')).toMatchObject({ state: 'exited', exitCode: 9 })
      const { items } = await call<{ items: ExecView[] }>('GET', EXEC)
      expect(items.map(session => session.id)).toContain(id)
    })

    test('what is large comes whole, both ways', async () => {
      const size = 200 * 1024 * 1024
      const block = Buffer.from(Uint8Array.from({ length: 1024 * 1024 }, (_, at) => (at * 7) ^ (at >> 8)))
      const { id } = await begin('exec cat', { stdin: true })
      const seen = createHash('sha256')
      const sent = createHash('sha256')
      await using client = await attach(id, { hasFlow: true, onStdout: bytes => void seen.update(bytes) })
      for (let at = 0; at < size; at += block.length) {
        block.writeUInt32LE(at, 0)
        sent.update(block)
        for (let part = 0; part < block.length; part += 65_536) await client.write(block.subarray(part, part + 65_536))
      }
      client.endInput()
      expect((await client.ended).status).toMatchObject({ status: 'Success' })
      expect(seen.digest('hex')).toBe(sent.digest('hex'))
    })

    test('a client that reads nothing stops the process, and loses nothing', async () => {
      const { id } = await begin('head -c 64000000 /dev/zero; echo > /tmp/written')
      const sizes: number[] = []
      await using client = await attach(id, { hasFlow: true, onStdout: ({ length }) => sizes.push(length) })
      client.pause()
      await systemClock.sleep(2000)
      expect((await sh('test -e /tmp/written')).exitCode).toBe(1)
      client.resume()
      expect((await client.ended).status).toMatchObject({ status: 'Success' })
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(64_000_000)
    })

    test('a client that has gone ends nothing; the next one goes on where it was, and the last one has it', async () => {
      const { id } = await begin('read a; echo got $a; read b; echo got $b', { stdin: true })
      const first = await attach(id)
      await first.write('one\n')
      await expect.poll(first.stdout).toBe('got one\n')
      first.vanish()
      await using second = await attach(id)
      await using third = await attach(id)
      expect(await second.ended).toMatchObject({ code: 1011, reason: 'exec.taken-over' })
      await third.write('two\n')
      expect((await third.ended).status).toMatchObject({ status: 'Success' })
      expect(third.stdout()).toBe('got two\n')
    })

    test('refused: no session, no terminal, no WebSocket, a container that is paused or down', async () => {
      expect(await codeOf(state('aaaaaaaaaaaaaaaa'))).toBe('exec.not-found')
      await expect(attach('aaaaaaaaaaaaaaaa')).rejects.toThrow('404')
      const { id } = await begin('sleep 100', { detach: true })
      expect(await codeOf(call('POST', `${EXEC}/${id}/resize`, { columns: 1, rows: 1 }))).toBe('exec.no-terminal')
      expect(await codeOf(state(`${id}/attach`))).toBe('request.upgrade-required')
      await call('POST', '/v1/containers/execs/pause?wait=paused', {})
      expect(await codeOf(sh('true'))).toBe('container.paused')
      await call('POST', '/v1/containers/execs/unpause?wait=running', {})
      await call('POST', '/v1/containers/execs/kill?wait=exited', {})
      expect(await state(id, '?wait=exited&timeout=20')).toMatchObject({ exitCode: 137 })
      expect(await codeOf(sh('true'))).toBe('container.not-running')
      await call('DELETE', '/v1/containers/execs?wait=removed')
      expect(await codeOf(sh('true'))).toBe('container.not-found')
    })
  })

  describe('attach', () => {
    const make = (name: string, script: string, extra: object) =>
      call('POST', '/v1/containers?wait=running', { image: 'busybox', name, command: ['sh', '-c', script], ...extra })
    const join = (name: string) => attachTo(get(), `/v1/containers/${name}/attach`)

    test('to a container with a terminal: several at once, its log has what it wrote', async () => {
      await make('screen', 'exec sh', { tty: true, stdin: true })
      await using one = await join('screen')
      await using two = await join('screen')
      // A client hears what is written once its host has attached it: that is after its WebSocket is open.
      for (const client of [one, two]) {
        const ask = async () => {
          one.resize(88, 44)
          await one.write('stty size\n')
          return client.stdout()
        }
        await expect.poll(ask, { timeout: 10_000, interval: 200 }).toContain('44 88\r\n')
      }
      await two.write('exit 6\n')
      for (const client of [one, two]) {
        expect((await client.ended).status?.details?.causes[0]?.message).toBe('6')
      }
      expect(await call('POST', '/v1/containers/screen/wait', {})).toMatchObject({ exitCode: 6 })
      expect(await logOf(get().api, 'screen')).toContain('44 88\r\n')
      expect(await codeOf(call('GET', '/v1/containers/screen/attach'))).toBe('request.upgrade-required')
      await using late = await join('screen')
      expect(await late.ended).toMatchObject({ code: 1011, reason: 'container.not-running' })
      await call('DELETE', '/v1/containers/screen?wait=removed')
    })

    test('to one with stdin: it stays open when a client leaves, or ends with it', async () => {
      const script = 'while read line; do echo got $line; done; exit 8'
      await make('open', script, { stdin: true })
      await make('once', script, { stdin: true, stdinOnce: true })
      for (const text of ['a', 'b']) {
        await using client = await join('open')
        await client.write(`${text}\n`)
        await expect.poll(client.stdout, { timeout: 10_000 }).toContain(`got ${text}\n`)
      }
      expect(await call('GET', '/v1/containers/open')).toMatchObject({ state: 'running', stdin: true, tty: false })
      await using client = await join('once')
      await client.write('c\n')
      client.endInput()
      expect((await client.ended).status?.details?.causes[0]?.message).toBe('8')
      expect(client.stdout()).toBe('got c\n')
      for (const name of ['open', 'once']) await call('DELETE', `/v1/containers/${name}?force=true&wait=removed`)
    })
  })
}
