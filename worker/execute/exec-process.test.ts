import { expect, test } from 'vitest'
import type { ExecSpec } from '#shared/domain/exec.ts'
import { processOf } from './exec-process.ts'

const ALL = ['CAP_CHOWN', 'CAP_KILL']
const base = {
  terminal: false,
  user: { uid: 5, gid: 6, additionalGids: [7], umask: 0o022 },
  args: ['run'],
  env: ['PATH=/bin', 'HOME=/home/five', 'A=1'],
  cwd: '/srv',
  capabilities: { bounding: ALL, effective: [], permitted: [] },
  rlimits: [{ type: 'RLIMIT_NOFILE', hard: 10, soft: 5 }],
  noNewPrivileges: true,
}
const spec: ExecSpec = { command: ['x'], tty: false, stdin: false, env: [], isDetached: false }
const root = { uid: 0, gid: 0, additionalGids: [], home: '/root' }

test("without more it is the container's process with another command", () => {
  expect(processOf(base, spec)).toEqual({ ...base, args: ['x'] })
})

test('root has what the container may have, another user nothing; HOME is theirs unless somebody chose it', () => {
  const asRoot = processOf(base, spec, root, false)
  expect(asRoot.capabilities).toEqual({ bounding: ALL, effective: ALL, permitted: ALL })
  expect(asRoot.env).toEqual(['PATH=/bin', 'HOME=/root', 'A=1'])
  expect(processOf(base, spec, root, true).env).toContain('HOME=/home/five')
  expect(processOf(base, spec, { ...root, uid: 9 }, false).capabilities.effective).toEqual([])
})

test('a terminal has TERM and a size; what is asked for wins', () => {
  const asked = { ...spec, tty: true, size: { columns: 90, rows: 30 }, env: ['A=2', 'TERM=dumb'], workdir: '/w' }
  expect(processOf(base, asked)).toMatchObject({
    ...{ terminal: true, consoleSize: { height: 30, width: 90 }, cwd: '/w' },
    env: ['TERM=dumb', 'PATH=/bin', 'HOME=/home/five', 'A=2'],
  })
})
