import { describe, expect, test } from 'vitest'
import type { HostAbilities } from '#shared/domain/host-abilities.ts'
import type { CreateContainer } from '#shared/protocol/containers.ts'
import { furtherLimits } from './container-limits.ts'
import { requireScopes } from './container-scopes.ts'
import { security } from './container-security.ts'
import { containerSpec } from './container-spec.ts'
import { withAbilities } from './containers.ts'

type Options = Omit<CreateContainer, 'image'>
const specOf = (options: Options) =>
  containerSpec({ image: 'app', command: ['run'], ...options }, {
    digest: `sha256:${'a'.repeat(64)}`,
    config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } },
  } as unknown as Parameters<typeof containerSpec>[1])

describe('options that contradict each other', () => {
  test.each<[string, Options, string]>([
    ['memorySwap', { memorySwap: '64m' }, 'give "memory"'],
    ['memorySwap', { memory: '64m', memorySwap: '32m' }, 'at least "memory"'],
    ['memoryReservation', { memory: '64m', memoryReservation: '65m' }, 'less than "memory"'],
    ['memory', { memory: '5m' }, 'from 6m'],
    ['oomKillDisable', { oomKillDisable: true }, 'without "memory"'],
    ['cpus', { cpus: 1, cpuQuota: 1000 }, 'cpuPeriod and cpuQuota'],
    ['cpusetCpus', { cpusetCpus: '3-1' }, 'smaller number first'],
    ['ulimits.nofile', { ulimits: { nofile: '5:4' } }, 'soft limit above'],
    ['ulimits.nofile', { ulimits: { nofile: '-1:4' } }, 'soft limit above'],
    ['userns', { privileged: true, userns: 'auto' }, 'give one of them'],
    ['devices', { devices: ['/dev/fuse'], userns: 'auto' }, 'give one of them'],
    ['devices', { devices: ['/dev/a:/dev/x', '/dev/b:/dev/x'] }, 'twice'],
    ['secrets', { secrets: ['a', { name: 'b', file: 'a' }] }, 'twice'],
    ['tmpfs', { secrets: ['a'], tmpfs: { '/run/secrets': '' } }, 'another path'],
  ])('%s: %j', (field, options, advice) => {
    const problem = expect.objectContaining({ code: 'request.invalid', facts: expect.objectContaining({ field }) })
    expect(() => specOf(options)).toThrow(problem)
    expect(() => specOf(options)).toThrow(advice)
  })
})

test('what was asked for is kept in one form', () => {
  expect(furtherLimits({ ulimits: { nproc: '3:4', core: -1 }, memory: '1g', memorySwap: '2g', shmSize: '1k' })).toEqual(
    {
      ...{
        ulimits: { core: { soft: -1, hard: -1 }, nproc: { soft: 3, hard: 4 } },
        memorySwap: 2 * 1024 ** 3,
        shmSize: 1024,
      },
    },
  )
  expect(
    security({ capAdd: ['net_admin', 'CAP_NET_ADMIN', 'all'], secrets: ['a'], sysctls: { 'net.core.x': 1 } }),
  ).toEqual({
    capAdd: ['ALL', 'CAP_NET_ADMIN'],
    secrets: [{ name: 'a', file: 'a', uid: 0, gid: 0, mode: 0o444 }],
    sysctls: { 'net.core.x': '1' },
  })
  const defaults = { seccomp: 'default', noNewPrivileges: true, userns: 'host', apparmor: 'default' } as const
  expect(security({ ...defaults, capAdd: [], tmpfs: {}, privileged: false })).toBeUndefined()
})

describe('the scopes of a token', () => {
  const allowed = (scopes: string[] | null, options: Options) => () => requireScopes({ scopes }, specOf(options))
  const forbidden = expect.objectContaining({ code: 'auth.forbidden' })

  test.each<[string, Options]>([
    ['privileged', { privileged: true }],
    ['capAdd', { capAdd: ['SYS_ADMIN'] }],
    ['capAdd', { capAdd: ['ALL'], capDrop: ['NET_RAW'] }],
    ['seccomp', { seccomp: 'unconfined' }],
    ['seccomp', { seccomp: { defaultAction: 'SCMP_ACT_ALLOW', syscalls: [] } }],
    ['apparmor', { apparmor: 'unconfined' }],
    ['systemPaths', { systemPaths: 'unconfined' }],
    ['devices', { devices: ['/dev/fuse'] }],
    ['deviceCgroupRules', { deviceCgroupRules: ['c 1:3 r'] }],
    ['oomScoreAdj', { oomScoreAdj: -1 }],
  ])('%s asks for containers:privileged: %j', (field, options) => {
    expect(allowed(['containers', 'containers:secrets'], options)).toThrow(forbidden)
    expect(allowed(['containers'], options)).toThrow(field)
    expect(allowed(['containers:privileged'], options)).not.toThrow()
    expect(allowed(null, options)).not.toThrow()
  })

  test('secrets ask for containers:secrets', () => {
    expect(allowed(['containers:privileged'], { secrets: ['a'] })).toThrow(forbidden)
    expect(allowed(['containers:secrets'], { secrets: ['a'] })).not.toThrow()
  })

  test('what confines further, or is within the default, asks for none', () => {
    const options: Options = {
      ...{ capDrop: ['ALL'], capAdd: ['NET_BIND_SERVICE'], noNewPrivileges: false, userns: 'auto', readOnly: true },
      ...{ tmpfs: { '/tmp': '' }, sysctls: { 'net.core.somaxconn': 5 }, ulimits: { nofile: 5 }, oomScoreAdj: 100 },
    }
    expect(allowed(['containers'], options)).not.toThrow()
  })
})

const ABILITIES: HostAbilities = {
  lacks: { blkioWeight: 'the kernel keeps no such limit; leave it out' },
  ...{ cpusetCpus: '0-1', cpusetMems: '0', ulimits: { nofile: 1000, core: -1 }, capabilities: ['CAP_NET_ADMIN'] },
  ...{ devices: ['/dev/fuse', '/dev/dri/*'], isPrivilegedAllowed: false, apparmor: false, usernsRefusal: 'it cannot' },
}
const refusal = (options: Options) => withAbilities([{ abilities: ABILITIES }], specOf(options))[0]?.refusal

describe('what a host cannot do', () => {
  test.each<[Options, string]>([
    [{ blkioWeight: 10 }, 'blkioWeight: the kernel'],
    [{ cpusetCpus: '0-2' }, 'cpusetCpus: this host has no 2, but 0-1'],
    [{ cpusetMems: '1' }, 'cpusetMems: this host has no 1'],
    [{ ulimits: { nofile: 1001 } }, "ulimits.nofile: 1001 is above this host's own hard limit, 1000"],
    [{ ulimits: { nofile: -1 } }, 'ulimits.nofile: unlimited is above'],
    [{ privileged: true }, 'privileged: this host runs no privileged'],
    [{ deviceCgroupRules: ['c 1:3 r'] }, 'deviceCgroupRules: this host runs no privileged'],
    [{ apparmor: 'own' }, 'apparmor: this host has none'],
    [{ userns: 'auto' }, 'userns: it cannot'],
    [{ capAdd: ['SYS_ADMIN'] }, 'capAdd: this host has no CAP_SYS_ADMIN'],
    [{ devices: ['/dev/sda'] }, 'devices: this host does not give /dev/sda away'],
    [{ devices: ['/dev/dri/by-path/x'] }, 'devices: this host does not give'],
    [{ oomScoreAdj: -5 }, 'oomScoreAdj: '],
  ])('%j', (options, why) => {
    expect(refusal(options)).toContain(why)
  })

  test('is nothing of what it can', () => {
    const options: Options = { cpusetCpus: '0,1', ulimits: { nofile: 1000, core: -1 }, capAdd: ['NET_ADMIN', 'ALL'] }
    expect(refusal({ ...options, devices: ['/dev/fuse', '/dev/dri/card0'], apparmor: 'unconfined' })).toBeUndefined()
  })
})
