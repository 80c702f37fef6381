import { expect, test } from 'vitest'
import { DEFAULT_CAPABILITIES } from '#shared/domain/capabilities.ts'
import { DEFAULT_PROFILE, readSeccompProfile, seccompFor } from './seccomp.ts'

const profile = await readSeccompProfile(DEFAULT_PROFILE)
const allowed = (capabilities: readonly string[]) => {
  const { syscalls } = seccompFor(profile, 'amd64', capabilities)
  const rules = syscalls.filter(({ action, args }) => action === 'SCMP_ACT_ALLOW' && !args)
  return new Set(rules.flatMap(({ names }) => names))
}

test('the default profile lets nobody make namespaces or mounts who has not the capability for it', () => {
  const plain = allowed(DEFAULT_CAPABILITIES)
  for (const name of ['unshare', 'setns', 'mount', 'clone', 'clone3', 'bpf', 'keyctl', 'io_uring_setup']) {
    expect(plain, name).not.toContain(name)
  }
  const admin = allowed([...DEFAULT_CAPABILITIES, 'CAP_SYS_ADMIN'])
  for (const name of ['unshare', 'setns', 'mount', 'clone', 'clone3', 'bpf']) expect(admin, name).toContain(name)
  for (const name of ['keyctl', 'io_uring_setup', 'kexec_load']) expect(admin, name).not.toContain(name)
  for (const name of ['read', 'execve', 'fork', 'openat2', 'futex']) expect(plain, name).toContain(name)
})

test('threads and processes are made all the same, without new namespaces', () => {
  const { syscalls } = seccompFor(profile, 'amd64', DEFAULT_CAPABILITIES)
  const clone = syscalls.filter(({ names }) => names.includes('clone'))
  expect(clone).toEqual([
    {
      names: ['clone'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: 0x7e020000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    },
  ])
  expect(syscalls.find(({ names }) => names.includes('clone3'))).toMatchObject({ errnoRet: 38 })
})

test('a profile of its own is taken as it is, for one architecture and its capabilities', () => {
  const own = {
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: ['SCMP_ARCH_X86_64'],
    syscalls: [
      { names: ['a'], action: 'SCMP_ACT_ERRNO', errnoRet: 5 },
      { names: ['b'], action: 'SCMP_ACT_ERRNO', includes: { caps: ['CAP_X'] } },
      { names: ['c'], action: 'SCMP_ACT_ERRNO', excludes: { arches: ['amd64'] } },
    ],
  }
  expect(seccompFor(own, 'amd64', [])).toEqual({
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: ['SCMP_ARCH_X86_64'],
    syscalls: [{ names: ['a'], action: 'SCMP_ACT_ERRNO', errnoRet: 5 }],
  })
})
