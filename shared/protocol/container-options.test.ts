import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parseDevice } from './container-security.ts'
import { createContainerSchema } from './containers.ts'

const taken = (options: object) => createContainerSchema.safeParse({ image: 'app', ...options })
const DEBIAN = '/usr/share/containers/seccomp.json'

describe('options that are taken', () => {
  test.each([
    { memory: '64m', memorySwap: -1, memoryReservation: '32m', memorySwappiness: 0 },
    { memorySwap: '-1', oomScoreAdj: -1000, oomKillDisable: true },
    { cpuShares: 2, cpuPeriod: 1000, cpuQuota: 1000, cpusetCpus: '0-2,7', cpusetMems: '0' },
    { blkioWeight: 10, deviceReadBps: { '/dev/vda': '1m' }, deviceWriteIops: { '/dev/disk/by-id/x:y': 5 } },
    { ulimits: { nofile: 1, nproc: '64:128', core: -1, stack: 'unlimited', memlock: { soft: 1, hard: 2 } } },
    { shmSize: '1g', capAdd: ['ALL', 'CAP_SYS_ADMIN', 'net_admin'], capDrop: ['all'] },
    { seccomp: 'default' },
    { seccomp: 'unconfined', noNewPrivileges: false, privileged: true, systemPaths: 'unconfined' },
    { seccomp: { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{ names: ['mkdir'], action: 'SCMP_ACT_ERRNO' }] } },
    { apparmor: 'unconfined', userns: 'auto', groupAdd: ['audio', 29] },
    { devices: ['/dev/fuse', '/dev/kvm:/dev/x', '/dev/kvm:r', '/dev/sda:/dev/x:rwm'] },
    { devices: [{ hostPath: '/dev/fuse', path: '/dev/fuse', access: 'rw' }] },
    { deviceCgroupRules: ['c 1:3 rwm', 'b *:* m', 'a *:* rwm'] },
    { sysctls: { 'kernel.shmmax': '65536', 'kernel.sem': '1 2 3 4', 'net.ipv4.conf.all.rp_filter': 0 } },
    { sysctls: { 'fs.mqueue.msg_max': 5, 'kernel.msgmax': 5 } },
    { tmpfs: { '/run': 'size=64m,mode=1777,uid=5,nr_inodes=10k', '/tmp': '', '/a/b.c': 'exec,suid,dev,ro' } },
    { secrets: ['db', { name: 'key', file: 'id_ed25519', uid: 5, gid: 6, mode: '0400' }] },
  ])('%j', options => {
    expect(taken(options).error?.issues).toBeUndefined()
  })

  test("Debian's own seccomp profile", () => {
    expect(taken({ seccomp: JSON.parse(readFileSync(DEBIAN, 'utf8')) }).success).toBe(true)
  })
})

const rule = (change: object) => ({ names: ['mkdir'], action: 'SCMP_ACT_ERRNO', ...change })
const profile = (...syscalls: object[]) => ({ defaultAction: 'SCMP_ACT_ALLOW', syscalls })

describe('options that are refused, by name', () => {
  test.each([
    ['memorySwap', { memorySwap: -2 }],
    ['memorySwappiness', { memorySwappiness: 101 }],
    ['oomScoreAdj', { oomScoreAdj: 1001 }],
    ['cpuShares', { cpuShares: 1 }],
    ['cpuPeriod', { cpuPeriod: 999 }],
    ['cpuQuota', { cpuQuota: 0 }],
    ['cpusetCpus', { cpusetCpus: '0-' }],
    ['cpusetCpus', { cpusetCpus: '' }],
    ['cpusetMems', { cpusetMems: 'all' }],
    ['blkioWeight', { blkioWeight: 9 }],
    ['deviceReadBps', { deviceReadBps: { sda: '1m' } }],
    ['deviceReadBps', { deviceReadBps: { '/dev/sda': '1x' } }],
    ['deviceWriteIops', { deviceWriteIops: { '/dev/sda': '1m' } }],
    ['ulimits', { ulimits: { files: 5 } }],
    ['ulimits', { ulimits: { nofile: '1:2:3' } }],
    ['ulimits', { ulimits: { nofile: -2 } }],
    ['shmSize', { shmSize: 0 }],
    ['capAdd', { capAdd: ['SYS_ADMIM'] }],
    ['capDrop', { capDrop: [''] }],
    ['seccomp', { seccomp: 'off' }],
    ['seccomp', { seccomp: {} }],
    ['seccomp', { seccomp: profile(rule({ action: 'SCMP_ACT_NOTIFY' })) }],
    ['seccomp', { seccomp: profile(rule({ names: [] })) }],
    ['seccomp', { seccomp: profile(rule({ args: [{ index: 6, value: 1, op: 'SCMP_CMP_EQ' }] })) }],
    [
      'seccomp',
      { seccomp: profile(...Array.from({ length: 999 }, () => rule({ names: ['x'.repeat(64), 'y'.repeat(64)] }))) },
    ],
    ['systemPaths', { systemPaths: 'none' }],
    ['apparmor', { apparmor: '../x' }],
    ['userns', { userns: 'keep-id' }],
    ['groupAdd', { groupAdd: ['a:b'] }],
    ['devices', { devices: ['/etc/passwd:/etc/x'] }],
    ['devices', { devices: ['dev/x'] }],
    ['devices', { devices: ['/dev/x:/dev/y:rx'] }],
    ['devices', { devices: ['/dev/x:/dev/../etc/y'] }],
    ['devices', { devices: ['/dev/x:/dev/y:rwm:z'] }],
    ['deviceCgroupRules', { deviceCgroupRules: ['c 1:3'] }],
    ['deviceCgroupRules', { deviceCgroupRules: ['x 1:3 rwm'] }],
    ['sysctls', { sysctls: { 'kernel.core_pattern': '|/x' } }],
    ['sysctls', { sysctls: { 'kernel.sem.x': '1' } }],
    ['sysctls', { sysctls: { 'net.ipv4/../../kernel.core_pattern': '1' } }],
    ['sysctls', { sysctls: { 'net..x': '1' } }],
    ['sysctls', { sysctls: { 'vm.overcommit_memory': '1' } }],
    ['sysctls', { sysctls: { 'net.core.somaxconn': '1\n2' } }],
    ['tmpfs', { tmpfs: { run: '' } }],
    ['tmpfs', { tmpfs: { '/': '' } }],
    ['tmpfs', { tmpfs: { '/proc/x': '' } }],
    ['tmpfs', { tmpfs: { '/sys': '' } }],
    ['tmpfs', { tmpfs: { '/dev/shm': '' } }],
    ['tmpfs', { tmpfs: { '/a/../proc': '' } }],
    ['tmpfs', { tmpfs: { '/run': 'context=x' } }],
    ['tmpfs', { tmpfs: { '/run': 'size=' } }],
    ['secrets', { secrets: ['../x'] }],
    ['secrets', { secrets: [{ name: 'x', file: 'a/b' }] }],
    ['secrets', { secrets: [{ name: 'x', mode: '4755' }] }],
    ['secrets', { secrets: [{ name: 'x', owner: 0 }] }],
  ])('%s: %j', (field, options) => {
    const issues = taken(options).error?.issues ?? []
    expect(issues.map(({ path }) => path[0])).toContain(field)
    expect(issues[0]?.message).not.toMatch(/^Invalid (input|key in record|string.*)$/) // Which say nothing.
  })
})

test.each([
  ['/dev/x', '/dev/x', '/dev/x', 'rwm'],
  ['/dev/x:r', '/dev/x', '/dev/x', 'r'],
  ['/dev/x:/dev/y', '/dev/x', '/dev/y', 'rwm'],
  ['/dev/x:/dev/y:rm', '/dev/x', '/dev/y', 'rm'],
])('%s is a device', (text, hostPath, path, access) => {
  expect(parseDevice(text)).toEqual({ hostPath, path, access })
})
