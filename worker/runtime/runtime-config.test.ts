import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { processArgs, type RuntimeConfigInput, runtimeConfig } from './runtime-config.ts'
import { resolveUser } from './user.ts'

const base: RuntimeConfigInput = {
  spec: { env: [], resources: {}, isReadOnly: false },
  image: { Env: ['PATH=/bin', 'A=image'], Entrypoint: ['/entry'], Cmd: ['serve'], WorkingDir: '/srv' },
  user: { uid: 0, gid: 0, additionalGids: [], home: '/root' },
  rootfs: '/data/snapshots/x/rootfs',
  netns: '/run/netns/slw-x',
  cgroupPath: '/slipway-main/x',
  hostname: 'x',
  files: { '/etc/hosts': '/data/containers/x/hosts' },
  seccomp: { defaultAction: 'SCMP_ACT_ERRNO', architectures: ['SCMP_ARCH_X86_64'], syscalls: [] },
  maxOpenFiles: 1024,
}
/** Golden files are read by people too: a change of one is a change of what containers may do. */
const golden = (name: string) => join(import.meta.dirname, 'golden', `${name}.json`)
const asText = (input: RuntimeConfigInput) => `${JSON.stringify(runtimeConfig(input), null, 2)}\n`

describe('config.json', () => {
  test('of a container with every default', async () => {
    await expect(asText(base)).toMatchFileSnapshot(golden('default'))
  })

  test('of a container with limits, a user of its own and a read-only root', async () => {
    const spec = {
      ...{ command: ['run'], env: ['A=own', 'B=1'], workdir: '/w', isReadOnly: true },
      resources: { memoryBytes: 64 * 1024 * 1024, cpus: 0.5, pids: 10 },
    }
    const user = { uid: 1000, gid: 1000, additionalGids: [27], home: '/home/u' }
    await expect(asText({ ...base, spec, user })).toMatchFileSnapshot(golden('limited'))
  })
})

describe('the command', () => {
  const image = { Entrypoint: ['e'], Cmd: ['c'] }
  test.each([
    [{}, ['e', 'c']],
    [{ command: ['x'] }, ['e', 'x']],
    [{ entrypoint: ['y'] }, ['y']],
    [{ entrypoint: ['y'], command: ['x'] }, ['y', 'x']],
    [{ entrypoint: [], command: ['x'] }, ['x']],
  ])('%j over the image is %j', (spec, args) => {
    expect(processArgs(spec, image)).toEqual(args)
  })

  test('none at all is refused', () => {
    expect(() => processArgs({}, {})).toThrow(expect.objectContaining({ code: 'container.command-missing' }))
  })
})

describe('the user', () => {
  const passwd = 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\n'
  const group = 'root:x:0:\nwww:x:34:\nlog:x:4:web\n'
  test.each([
    ['', { uid: 0, gid: 0, additionalGids: [], home: '/root' }],
    ['web', { uid: 33, gid: 34, additionalGids: [4], home: '/var/www' }],
    ['33', { uid: 33, gid: 34, additionalGids: [4], home: '/var/www' }],
    ['web:log', { uid: 33, gid: 4, additionalGids: [], home: '/var/www' }],
    ['1234', { uid: 1234, gid: 0, additionalGids: [], home: '/' }],
    ['1234:5678', { uid: 1234, gid: 5678, additionalGids: [], home: '/' }],
  ])('%j is %j', (text, expected) => {
    expect(resolveUser(text, passwd, group)).toEqual(expected)
  })

  test.each(['nobody', 'web:nogroup'])('%s is not found', text => {
    expect(() => resolveUser(text, passwd, group)).toThrow(
      expect.objectContaining({ code: 'container.user-not-found' }),
    )
  })
})
