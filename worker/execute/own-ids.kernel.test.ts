import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { printedIn } from '#test/support/container-log.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import type { OciRuntimeConfig } from '../runtime/oci-config.ts'
import { openSnapshot } from './container-snapshot.ts'
import { firstIdOf } from './own-ids.ts'
import type { HostPorts } from './ports.ts'
import { removeContainer } from './remove-container.ts'
import { logPathOf, runContainer } from './run-container.ts'
import { openSecretFiles } from './secret-files.ts'

/** Containers with a range of ids of their own. Needs root, busybox-static and a kernel of 6.15 or newer. */

let host: TestHost
beforeAll(async () => {
  host = await openTestHost('ownids', 73)
})
afterAll(() => host?.[Symbol.asyncDispose]())

function wanted(script: string, change: Partial<DesiredContainer['spec']> = {}): DesiredContainer {
  const want = host.want(['/bin/busybox', 'sh', '-c', `b=/bin/busybox; ${script}`])
  return { ...want, spec: { ...want.spec, security: { userns: 'auto' }, ...change } }
}
const begin = (want: DesiredContainer, run = 1, ports: HostPorts = host.ports) =>
  runContainer({ kind: 'runContainer', want, run, attempts: 0, restarts: 0 }, ports)
const logOf = ({ id }: DesiredContainer) => printedIn(logPathOf(host.ports, id))
async function ended({ id }: DesiredContainer) {
  expect(await waitUntil(async () => (await host.ports.runtime.inspect(id)).state === 'exited', 10_000)).toBe(true)
}

test('its root is nobody on the host, and its files are root’s to it', async () => {
  const want = wanted(`$b cat /proc/self/uid_map; $b stat -c %u:%g / /etc/hosts /bin/busybox; echo mine >/new;
    $b chown 7:8 /new; echo 127.1.1.1 x >>/etc/hosts && echo hosts; $b touch /bin/sh2 && $b rm /bin/sleep && echo wrote; sleep 2; exec $b sleep 1000`)
  await begin(want)
  const first = firstIdOf(want.endpoint)
  expect(await waitUntil(async () => logOf(want).includes('wrote'), 5000)).toBe(true)
  const lines = logOf(want).split('\n')
  expect(lines[0]?.trim().split(/\s+/)).toEqual(['0', String(first), '65536'])
  expect(lines.slice(1)).toEqual(['0:0', '0:0', '0:0', 'hosts', 'wrote'])
  const state = await host.ports.runtime.inspect(want.id)
  if (state.state !== 'running') throw new Error('It should run.')
  expect(readFileSync(`/proc/${state.pid}/status`, 'utf8')).toContain(`Uid:\t${first}\t`)
  await host.ports.runtime.kill(want.id, 'SIGKILL')
  await ended(want)
  await host.ports.network.detach(want.id)
  await host.ports.snapshots.unmount(want.id)
  // On the disk files have the ids that the container sees: images made of it and copies have them, too.
  await using snapshot = await openSnapshot(host.ports, want.id, want.spec)
  const { uid, gid } = statSync(join(snapshot.rootfs, 'new'))
  expect([uid, gid]).toEqual([7, 8])
  await removeContainer(host.ports, want.id)
})

/** What a script printed, of a container that it was the end of. */
async function saw(
  script: string,
  change: Partial<DesiredContainer['spec']> = {},
  ports: HostPorts = host.ports,
): Promise<string> {
  const want = wanted(script, change)
  try {
    await begin(want, 1, ports)
    await ended(want)
    return logOf(want)
  } finally {
    await removeContainer(ports, want.id)
  }
}

test('this host can, and says so', () => {
  expect(host.ports.abilities.usernsRefusal).toBeUndefined()
})

test('its network is its own, with low ports, ping and sysctls', async () => {
  const script = `$b ls /sys/class/net; $b ping -c 1 -W 2 127.0.0.1 >/dev/null && echo pings;
    ($b nc -l -p 80 & $b sleep 0.3; $b netstat -ltn | $b grep -c ':80 '); $b cat /proc/sys/net/core/somaxconn`
  const security = { userns: 'auto' as const, sysctls: { 'net.core.somaxconn': '77' } }
  const lines = (await saw(script, { security })).split('\n')
  expect(lines).toEqual(['eth0', 'lo', 'pings', '1', '77'])
})

test('another user, a folder in memory and secrets are within its range', async () => {
  const folder = `/run/slipway-${host.ports.instance}/secrets`
  const secrets = openSecretFiles({ folder, fetch: async () => ({ db: 'hidden' }) })
  const security = {
    ...{ userns: 'auto' as const, tmpfs: { '/data': 'uid=5,mode=0700' } },
    secrets: [{ name: 'db', file: 'db', uid: 1000, gid: 1000, mode: 0o400 }],
  }
  const script =
    '$b id -u; $b stat -c %u /data; $b cat /run/secrets/db; echo; (echo x >/run/secrets/db) 2>/dev/null || echo kept'
  const seen = await saw(script, { security, user: '1000:1000' }, { ...host.ports, secrets })
  expect(seen).toBe('1000\n5\nhidden\nkept')
})

test('it has no way to what the default refuses, either', async () => {
  const script = `for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper; do (echo 1 >$f) 2>/dev/null && echo $f; done;
    $b mount -t tmpfs none /tmp 2>/dev/null && echo mounted; $b mknod /n b 7 0 2>/dev/null && (: </n) 2>/dev/null && echo opened;
    $b head -c 9 /proc/kcore /proc/interrupts 2>/dev/null | $b grep -v ==; $b ls /proc/1/fd; true`
  expect((await saw(`exec 2>/dev/null; ${script}`)).trim()).toMatch(/^0\n1\n2(\n10)?$/)
})

test('a health check is within its range, too, and ends with its time', async () => {
  const want = wanted('$b sleep 1000')
  await begin(want)
  const config: OciRuntimeConfig = JSON.parse(
    readFileSync(join(host.ports.containersFolder, want.id, 'config.json'), 'utf8'),
  )
  const check = (script: string, timeoutMs: number) => {
    const options = { timeoutMs, outputBytes: 4096, signal: new AbortController().signal, endsLeftovers: false }
    return host.ports.runtime.probe(want.id, { ...config.process, args: ['/bin/busybox', 'sh', '-c', script] }, options)
  }
  const seen = await check('/bin/busybox id -u; /bin/busybox grep -c . /proc/self/uid_map; echo >/made', 5000)
  expect([seen.exitCode, seen.output.trim()]).toEqual([0, '0\n1'])
  expect((await check('/bin/busybox sleep 1000', 300)).isOverdue).toBe(true)
  await removeContainer(host.ports, want.id)
})

test('two at once have different ranges, and a second run finds the files of the first', async () => {
  const one = wanted('if $b test -e /file; then $b stat -c %u /file; else echo 1 >/file; fi')
  const other = wanted('true')
  expect(firstIdOf(one.endpoint) - firstIdOf(other.endpoint)).toBe(-65_536)
  for (const run of [1, 2]) {
    await begin(one, run)
    await ended(one)
    await host.ports.network.detach(one.id)
    await host.ports.snapshots.unmount(one.id)
  }
  expect(logOf(one)).toBe('0')
  await removeContainer(host.ports, one.id)
})

test('while somebody reads its files as they are on the disk, it waits, and the other way round', async () => {
  const want = wanted('$b sleep 1000')
  await begin(want)
  await expect(openSnapshot(host.ports, want.id, want.spec)).rejects.toMatchObject({ code: 'container.files-in-use' })
  await host.ports.runtime.kill(want.id, 'SIGKILL')
  await ended(want)
  await host.ports.network.detach(want.id)
  await host.ports.snapshots.unmount(want.id)
  {
    await using _ = await openSnapshot(host.ports, want.id, want.spec)
    await expect(begin(want, 2)).rejects.toMatchObject({ code: 'container.files-in-use' })
  }
  await begin(want, 2)
  await removeContainer(host.ports, want.id)
})

test('nothing of it is left on the host', () => {
  const roots = existsSync('/run/slipway-roots') ? readdirSync('/run/slipway-roots') : []
  expect(roots.filter(name => name.startsWith('ownids-'))).toEqual([])
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toMatch(/slipway-roots\/ownids|slipway-ownids\/secrets/)
})
