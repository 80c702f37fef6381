import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { ContainerSpec } from '#shared/domain/container.ts'
import type { Security } from '#shared/domain/security.ts'
import { printedIn } from '#test/support/container-log.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { cgroupRoot, cgroupVersion } from '../host/cgroup.ts'
import { mknod, S_IFBLK } from '../host/syscalls.ts'
import { openConmonRuntime } from '../runtime/conmon-runtime.ts'
import type { HostPorts } from './ports.ts'
import { removeContainer } from './remove-container.ts'
import { logPathOf, runContainer } from './run-container.ts'

/** What containers are limited and confined to, as they see it themselves. Needs root and busybox-static. */

let host: TestHost
beforeAll(async () => {
  host = await openTestHost('confine', 71)
})
afterAll(() => host?.[Symbol.asyncDispose]())

type Wishes = Partial<Pick<ContainerSpec, 'resources' | 'security' | 'user' | 'isReadOnly'>>

/** What a script printed, of a container that it was the end of. */
async function saw(script: string, wishes: Wishes = {}, ports: HostPorts = host.ports) {
  const want = wanted(script, wishes)
  try {
    await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, ports)
    const state = () => ports.runtime.inspect(want.id)
    expect(await waitUntil(async () => (await state()).state === 'exited', 20_000)).toBe(true)
    return printedIn(logPathOf(ports, want.id))
  } finally {
    await removeContainer(ports, want.id)
  }
}

function wanted(script: string, wishes: Wishes) {
  const want = host.want(['/bin/busybox', 'sh', '-c', `b=/bin/busybox; ${script}`])
  return { ...want, spec: { ...want.spec, ...wishes } }
}

const secure = (security: Security): Wishes => ({ security })
const cap = (name: string) => `$b grep ${name} /proc/self/status | $b cut -f 2`

describe('limits', () => {
  const isV1 = cgroupVersion() === 'v1'
  /** What the kernel keeps of a container's cgroup while it runs. */
  async function kept(resources: ContainerSpec['resources'], files: Record<string, string>) {
    const want = wanted('$b sleep 1000', { resources })
    await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, host.ports)
    const path = `${cgroupRoot(host.ports.instance)}/${want.id}`
    const read = (file: string) => {
      const [controller = ''] = file.split('.')
      return readFileSync(`/sys/fs/cgroup/${isV1 ? `${controller}${path}` : path}/${file}`, 'utf8').trim()
    }
    const found = Object.fromEntries(Object.keys(files).map(file => [file, read(file)]))
    await removeContainer(host.ports, want.id)
    return found
  }

  test.runIf(isV1)('are kept by the kernel, cgroup v1', async () => {
    const root = readFileSync('/proc/self/mountinfo', 'utf8').match(/ (\d+):0 \/ \/ /)?.[1] ?? '0'
    const files = {
      ...{ 'memory.limit_in_bytes': String(64 * 1024 ** 2), 'memory.memsw.limit_in_bytes': String(96 * 1024 ** 2) },
      ...{ 'memory.soft_limit_in_bytes': String(32 * 1024 ** 2), 'memory.swappiness': '7' },
      ...{ 'cpu.shares': '512', 'cpu.cfs_period_us': '50000', 'cpu.cfs_quota_us': '25000', 'cpuset.cpus': '0' },
      ...{ 'cpuset.mems': '0', 'pids.max': '9' },
      ...{ 'blkio.throttle.read_bps_device': `${root}:0 1048576`, 'blkio.throttle.write_iops_device': `${root}:0 77` },
    }
    const disk = readFileSync('/proc/self/mountinfo', 'utf8').match(/ \/ \/ .* - \S+ (\/dev\/\S+)/)?.[1] ?? ''
    const found = await kept(
      {
        ...{ memoryBytes: 64 * 1024 ** 2, memorySwap: 96 * 1024 ** 2, memoryReservation: 32 * 1024 ** 2 },
        ...{ memorySwappiness: 7, cpuShares: 512, cpuPeriod: 50_000, cpuQuota: 25_000, cpusetCpus: '0' },
        ...{ cpusetMems: '0', pids: 9, deviceReadBps: { [disk]: 1024 ** 2 } },
        deviceWriteIops: { [disk]: 77 },
      },
      files,
    )
    expect(found).toEqual(files)
  })

  test.runIf(isV1)('swap can be had without end, and the killer be told to stay away', async () => {
    const files = { 'memory.memsw.limit_in_bytes': '', 'memory.oom_control': '' }
    const found = await kept({ memoryBytes: 64 * 1024 ** 2, memorySwap: -1, oomKillDisable: true }, files)
    expect(Number(found['memory.memsw.limit_in_bytes'])).toBeGreaterThan(1024 ** 5)
    expect(found['memory.oom_control']).toContain('oom_kill_disable 1')
  })

  test('of processes: ulimits, and whom the kernel kills first', async () => {
    const ulimits = {
      nofile: { soft: 64, hard: 128 },
      core: { soft: 0, hard: 0 },
      stack: { soft: 1024 ** 2, hard: -1 },
    }
    const script = 'ulimit -n; ulimit -Hn; ulimit -c; ulimit -s; ulimit -Hs; $b cat /proc/self/oom_score_adj'
    expect(await saw(script, { resources: { ulimits, oomScoreAdj: 321 } })).toBe('64\n128\n0\n1024\nunlimited\n321')
    expect(await saw('$b cat /proc/self/oom_score_adj')).toBe('0')
  })

  test('of shared memory', async () => {
    const script = "$b df -k /dev/shm | $b awk 'NR==2 {print $2}'"
    expect(await saw(script)).toBe('65536')
    expect(await saw(script, { resources: { shmSize: 8 * 1024 ** 2 } })).toBe('8192')
  })

  test.each<[string, Wishes]>([
    ['cpusetCpus: this host has no 999', { resources: { cpusetCpus: '999' } }],
    [
      "ulimits.nproc: 999999999 is above this host's own",
      { resources: { ulimits: { nproc: { soft: 1, hard: 999_999_999 } } } },
    ],
    ['device limits: this host has no device /dev/nodisk', { resources: { deviceReadBps: { '/dev/nodisk': 5 } } }],
    [
      'device limits: /dev/null of this host is not a block device',
      { resources: { deviceReadBps: { '/dev/null': 5 } } },
    ],
    [
      'devices: this host does not give /dev/fuse away',
      secure({ devices: [{ hostPath: '/dev/fuse', path: '/dev/fuse', access: 'r' }] }),
    ],
  ])('that a host cannot keep are refused: %s', async (message, wishes) => {
    if (message.includes('ulimits') && host.ports.abilities.ulimits.nproc === -1) return // Every number is below that.
    await expect(saw('true', wishes)).rejects.toMatchObject({
      code: 'host.unable',
      message: expect.stringContaining(message),
    })
  })
})

describe('capabilities', () => {
  const set = (...bits: number[]) =>
    bits
      .reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n)
      .toString(16)
      .padStart(16, '0')
  const [NET_BIND, NET_ADMIN] = [10, 12]

  test('are dropped and added', async () => {
    const only = secure({ capDrop: ['ALL'], capAdd: ['CAP_NET_ADMIN'] })
    expect(await saw(cap('CapEff'), only)).toBe(set(NET_ADMIN))
    expect(await saw('$b ip link set lo mtu 1400 && echo may', only)).toBe('may')
    expect(await saw('$b ip link set lo mtu 1400 && echo may')).not.toContain('may')
    expect(await saw(cap('CapBnd'), secure({ capDrop: ['ALL'] }))).toBe(set())
  })

  test('that were asked for by name are worth something to another user, too', async () => {
    const wishes = { user: '1000', security: { capAdd: ['CAP_NET_BIND_SERVICE'] } }
    expect(await saw(`${cap('CapEff')}; ${cap('CapAmb')}`, wishes)).toBe(`${set(NET_BIND)}\n${set(NET_BIND)}`)
    expect(await saw(cap('CapEff'), { user: '1000' })).toBe(set())
  })
})

describe('confinement', () => {
  test('no new privileges, unless it is to have them', async () => {
    expect(await saw(cap('NoNewPrivs'))).toBe('1')
    expect(await saw(cap('NoNewPrivs'), secure({ noNewPrivileges: false }))).toBe('0')
  })

  test('seccomp: the default, none, and one of its own', async () => {
    const script = `${cap('Seccomp:')}; $b mkdir /tmp/x 2>&1 || true`
    expect(await saw(script)).toBe('2')
    expect(await saw(script, secure({ seccomp: 'unconfined' }))).toBe('0')
    const syscalls = [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 28 }]
    const own = secure({ seccomp: { defaultAction: 'SCMP_ACT_ALLOW', syscalls } })
    expect(await saw(script, own)).toContain('No space left')
  })

  test('groups that it asked for, by number and by name', async () => {
    expect(await saw('$b id -G', { user: '1000:1000', security: { groupAdd: ['27', '5'] } })).toBe('1000 5 27')
    const strange = saw('true', secure({ groupAdd: ['nogroup'] }))
    await expect(strange).rejects.toMatchObject({ code: 'container.user-not-found' })
  })

  test('sysctls of its own namespaces, while the host keeps its own', async () => {
    const sysctls = { 'net.core.somaxconn': '77', 'kernel.shmmax': '65536', 'fs.mqueue.msg_max': '5' }
    const script = 'cd /proc/sys; $b cat net/core/somaxconn kernel/shmmax fs/mqueue/msg_max'
    expect(await saw(script, secure({ sysctls }))).toBe('77\n65536\n5')
    expect(readFileSync('/proc/sys/net/core/somaxconn', 'utf8').trim()).not.toBe('77')
    const bad = saw('true', secure({ sysctls: { 'net.core.somaxconn': 'many' } }))
    await expect(bad).rejects.toMatchObject({ code: 'host.unable', message: expect.stringMatching(/somaxconn/) })
    const strange = saw('true', secure({ sysctls: { 'net.core.nothing': '1' } }))
    await expect(strange).rejects.toMatchObject({
      code: 'host.unable',
      message: expect.stringContaining('net.core.nothing'),
    })
  })

  test('folders in memory, with their options, in a root that is read-only', async () => {
    const tmpfs = { '/var/cache/deep': 'size=64k,mode=0700,uid=5', '/tmp': 'exec' }
    const script = `
      (echo no >/file) 2>/dev/null || echo read-only
      $b stat -c '%a %u' /var/cache/deep /tmp
      $b dd if=/dev/zero of=/var/cache/deep/x bs=1k count=128 2>/dev/null || echo full
      $b cp $b /tmp/busybox && /tmp/busybox echo runs
      $b awk '$2=="/var/cache/deep" {print $4}' /proc/mounts`
    const lines = (await saw(script, { isReadOnly: true, security: { tmpfs } })).split('\n')
    expect(lines.slice(0, 5)).toEqual(['read-only', '700 5', '1777 0', 'full', 'runs'])
    expect(lines[5]).toMatch(/nosuid,nodev,noexec/)
  })

  test('nothing of /proc is hidden where it asks for that', async () => {
    const script =
      '$b stat -c %s /proc/timer_list; $b head -c 5 /proc/interrupts | $b wc -c; test -w /proc/sysrq-trigger; echo $?'
    expect((await saw('$b head -c 5 /proc/interrupts | $b wc -c')).trim()).toBe('0')
    expect((await saw(script, secure({ systemPaths: 'unconfined' }))).split('\n')[1]?.trim()).toBe('5')
  })
})

test.each(['crun', 'runc'] as const)('all of it is taken by %s', async program => {
  const folders = { runFolder: `/run/slipway-${host.ports.instance}`, dataFolder: host.dataFolder }
  const runtime = await openConmonRuntime({ program, instance: host.ports.instance, ...folders })
  const security: Security = {
    ...{ userns: 'auto', capDrop: ['ALL'], capAdd: ['CAP_NET_ADMIN'], groupAdd: ['5'], tmpfs: { '/t': 'mode=0700' } },
    sysctls: { 'net.core.somaxconn': '77' },
  }
  const resources = {
    ...{ ulimits: { core: { soft: 0, hard: -1 }, nofile: { soft: 64, hard: 128 } }, memoryBytes: 64 * 1024 ** 2 },
    ...{ memorySwap: -1, cpuShares: 100, cpusetCpus: '0', oomScoreAdj: 5 },
  }
  const script = `${cap('CapEff')}; ulimit -n; ulimit -Hc; $b id -G; $b stat -c %a /t; $b cat /proc/sys/net/core/somaxconn /proc/self/oom_score_adj;
    $b ls /sys/class/net; $b awk '{print $1, $3}' /proc/self/uid_map`
  const seen = await saw(script, { security, resources }, { ...host.ports, runtime })
  expect(seen.split('\n')).toEqual([
    ...['0000000000001000', '64', 'unlimited', '0 5', '700', '77', '5', 'eth0', 'lo', '0 65536'],
  ])
})

describe('devices', () => {
  const folder = '/dev/slipway-confine'
  const disk = `${folder}/disk`
  beforeAll(() => {
    mkdirSync(folder, { recursive: true })
    mknod(disk, S_IFBLK | 0o600, 7, 0)
    writeFileSync(`${folder}/plain`, '')
    host.ports.abilities.devices.push(`${folder}/*`)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const device = (hostPath: string, path: string, access = 'rwm'): Security => ({
    devices: [{ hostPath, path, access }],
  })

  test('that its host gives away are there under their name, with their rights', async () => {
    const script = "$b stat -c '%F %t:%T %a' /dev/own; $b dd if=/dev/own of=/dev/null count=0 2>/dev/null && echo read"
    expect(await saw(script, secure(device(disk, '/dev/own', 'r')))).toBe('block special file 7:0 600\nread')
    const write = '(: >>/dev/own) 2>/dev/null && echo wrote || echo refused'
    expect(await saw(write, secure(device(disk, '/dev/own', 'r')))).toBe('refused')
    expect(await saw(write, secure(device(disk, '/dev/own', 'rw')))).toBe('wrote')
    expect(await saw(`$b mknod /dev/own b 7 0; ${write}`)).toBe('refused')
    expect(await saw(`$b mknod /dev/own b 7 0; ${write}`, secure({ deviceCgroupRules: ['b 7:* rw'] }))).toBe('wrote')
  })

  test('that are none are refused', async () => {
    const plain = saw('true', secure(device(`${folder}/plain`, '/dev/x')))
    await expect(plain).rejects.toMatchObject({
      code: 'host.unable',
      message: expect.stringContaining('is not a device'),
    })
  })

  test('are all there for a privileged one, which nothing confines', async () => {
    const script = `$b test -b ${disk} && (: >>${disk}) && echo wrote; ${cap('Seccomp:')}; ${cap('NoNewPrivs')};
      $b head -c 5 /proc/interrupts | $b wc -c; $b mount -t tmpfs none /tmp && echo mounted; test -w /sys/kernel && echo sys`
    const lines = (await saw(script, secure({ privileged: true }))).split('\n').map(line => line.trim())
    expect(lines).toEqual(['wrote', '0', '0', '5', 'mounted', 'sys'])
  })
})
