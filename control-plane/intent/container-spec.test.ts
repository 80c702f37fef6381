import { expect, test } from 'vitest'
import type { Digest } from '#shared/digest.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import type { ImageConfig } from '#shared/domain/image.ts'
import { type CreateContainer, createContainerSchema, type UpdateContainer } from '#shared/protocol/containers.ts'
import { containerSpec, updatedSpec } from './container-spec.ts'

const image = (letter: string, Cmd?: string[]) => ({
  digest: `sha256:${letter.repeat(64)}` as Digest,
  config: {
    architecture: 'amd64',
    os: 'linux',
    config: { Cmd },
    rootfs: { type: 'layers', diff_ids: [] },
  } as ImageConfig,
})
const asked = {
  image: 'app:1',
  env: { A: '1' },
  ports: ['80:80'],
  restart: 'on-failure:3',
  memory: '64m',
  readOnly: true,
}
const first = containerSpec(asked, image('a', ['run']))

test('an update takes what it names, and leaves the rest as it is', () => {
  const second = updatedSpec(first, { image: 'app:2' }, image('b', ['run']))
  expect(second).toEqual({ ...first, image: 'app:2', imageDigest: image('b').digest, revision: 1 })
  const third = second && updatedSpec(second, { env: ['B=2'], memory: '32m', restart: 'no' }, image('b', ['run']))
  expect(third).toMatchObject({
    image: 'app:2',
    env: ['B=2'],
    restart: { kind: 'no' },
    revision: 2,
    ports: first.ports,
  })
  expect(third?.resources.memoryBytes).toBe(32 * 1024 ** 2)
})

test('an update to what is there already is none', () => {
  expect(updatedSpec(first, {}, image('a', ['run']))).toBeUndefined()
  const once = updatedSpec(first, { image: 'app:1', user: 'nobody' }, image('a', ['run']))
  expect(once?.revision).toBe(1)
  expect(once && updatedSpec(once, { image: 'app:1', user: 'nobody' }, image('a', ['run']))).toBeUndefined()
  expect(updatedSpec(first, { image: 'app:1' }, image('c', ['run']))?.revision).toBe(1) // The tag has moved.
})

const ALL_LIMITS = {
  ...{ memorySwap: '128m', memoryReservation: '32m', memorySwappiness: 10, oomKillDisable: true, oomScoreAdj: 500 },
  ...{ cpuShares: 512, cpusetCpus: '0', cpusetMems: '0', blkioWeight: 100, ulimits: { nofile: '64:128', core: 0 } },
  ...{ deviceReadBps: { '/dev/sda': '1m' }, deviceWriteBps: { '/dev/sda': 5 }, deviceReadIops: { '/dev/sda': 5 } },
  ...{ deviceWriteIops: { '/dev/sda': 5 }, shmSize: '1m' },
}
const ALL_SECURITY = {
  ...{ capAdd: ['net_admin'], capDrop: ['ALL'], seccomp: 'unconfined' as const, noNewPrivileges: false },
  ...{ privileged: true, systemPaths: 'unconfined' as const, apparmor: 'own', userns: 'host' as const, groupAdd: [7] },
  ...{ devices: ['/dev/fuse'], deviceCgroupRules: ['c 1:3 r'], sysctls: { 'net.core.somaxconn': 5 } },
  ...{ tmpfs: { '/run': 'size=1m' }, secrets: ['s'] },
}

test('CPU time has two words, of which an update changes one for the other', () => {
  const bare = image('a', ['run'])
  const second = updatedSpec(first, { cpuQuota: 5000 }, bare)
  expect(second?.resources.cpuQuota).toBe(5000)
  const third = second && updatedSpec(second, { cpus: 2 }, bare)
  expect(third?.resources).toEqual({ memoryBytes: 64 * 1024 ** 2, cpus: 2 })
})

test('an update to what a default is takes the setting away', () => {
  const bare = image('a', ['run'])
  const confined = { seccomp: 'unconfined' as const, capAdd: ['sys_admin'], systemPaths: 'unconfined' as const }
  const open = containerSpec({ ...asked, ...confined }, bare)
  expect(open.security).toEqual({ ...confined, capAdd: ['CAP_SYS_ADMIN'] })
  const closed = updatedSpec(open, { seccomp: 'default', capAdd: [], systemPaths: 'default' }, bare)
  expect(closed).toMatchObject({ revision: 1, security: undefined })
})

test('an update keeps every setting that it does not name', () => {
  const { name, host, start, cpuPeriod, cpuQuota, dependsOn: _dependsOn, ...settings } = createContainerSchema.shape
  const all: Required<Omit<CreateContainer, 'name' | 'host' | 'start' | 'cpuPeriod' | 'cpuQuota' | 'dependsOn'>> = {
    ...asked,
    ...{ command: ['x'], entrypoint: ['e'], workdir: '/w', user: 'nobody', hostname: 'h', labels: { a: 'b' } },
    ...{ cpus: 0.5, pidsLimit: 10, keepFor: '36h' },
    ...{ tty: true, stdin: true, stdinOnce: true },
    ...ALL_LIMITS,
    ...ALL_SECURITY,
    ...{ stopSignal: 'SIGINT', stopTimeout: 2.5, init: true, autoRemove: false },
    healthCheck: {
      test: ['CMD', 'true'],
      interval: '90s',
      timeout: '250ms',
      startPeriod: '1m',
      startInterval: '2s',
      retries: 2,
    },
  }
  expect(Object.keys(all).sort()).toEqual(Object.keys(settings).sort())
  const dependsOn = [{ container: 'a'.repeat(16) as ContainerId, condition: 'healthy' as const }]
  const spec = containerSpec(all, image('a'), dependsOn)
  expect(updatedSpec(spec, {}, image('a'))).toBeUndefined()
  expect(updatedSpec(spec, { env: ['B=2'] }, image('a'))).toEqual({ ...spec, env: ['B=2'], revision: 1 })
  expect(updatedSpec(spec, { keepFor: '2d' }, image('a'))).toEqual({ ...spec, keepForMs: 48 * 3_600_000, revision: 0 })
})

test('limits, the restart policy and how it ends change in the run that goes on; anything else begins it anew', () => {
  const revisionAfter = (asked: UpdateContainer) => updatedSpec(first, asked, image('a', ['run']))?.revision
  const live: UpdateContainer[] = [
    ...[{ memory: '32m' }, { cpus: 2 }, { pidsLimit: 7 }, { restart: 'no' }, { restart: 'on-failure:4' }],
    ...[{ stopTimeout: 3 }, { stopSignal: 'SIGINT' }, { keepFor: '1h' }, { restart: 'no', autoRemove: true }],
  ]
  expect(live.map(revisionAfter)).toEqual(live.map(() => 0))
  const anew: UpdateContainer[] = [
    { memory: '32m', user: 'nobody' },
    { init: true },
    { healthCheck: 'none' },
    { env: [] },
  ]
  expect(anew.map(revisionAfter)).toEqual(anew.map(() => 1))
})

test('one that removes itself is not to be restarted or kept', () => {
  for (const clash of [{ restart: 'always' }, { keepFor: '1h' }]) {
    const wrong = expect.objectContaining({ code: 'request.invalid' })
    expect(() => containerSpec({ image: 'a', command: ['x'], autoRemove: true, ...clash }, image('a'))).toThrow(wrong)
  }
  const self = containerSpec({ image: 'a', command: ['x'], autoRemove: true, restart: 'no' }, image('a'))
  expect(self.isAutoRemoved).toBe(true)
  expect(() => updatedSpec(self, { restart: 'always' }, image('a'))).toThrow('exclude each other')
})

test('an update to an image that names no command needs one', () => {
  const wrong = expect.objectContaining({ code: 'container.command-missing' })
  expect(() => updatedSpec(first, { image: 'bare' }, image('d'))).toThrow(wrong)
  expect(updatedSpec(first, { image: 'bare', command: ['x'] }, image('d'))?.command).toEqual(['x'])
})
