import { chmodSync, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { run, runAny } from './run.ts'
import { openSshAgent } from './ssh-agent.ts'

test('whoever the socket lets in may sign, root or not, and nobody afterwards', async () => {
  using undo = new DisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'slipway-agent-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  chmodSync(folder, 0o755)
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'of-the-test', '-f', join(folder, 'key')])
  const key = await run('cat', [join(folder, 'key')])
  const socket = join(folder, 'agent')
  const listed = (...as: string[]) => runAny('env', [`SSH_AUTH_SOCK=${socket}`, ...as, 'ssh-add', '-l'])
  const stranger = ['setpriv', '--reuid=4321', '--regid=4321', '--clear-groups']
  {
    await using _ = await openSshAgent(socket, key)
    chmodSync(socket, 0o666)
    for (const as of [[], stranger]) {
      const { exitCode, stdout } = await listed(...as)
      expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: expect.stringContaining('of-the-test') })
    }
    chmodSync(socket, 0o600)
    expect(await listed(...stranger)).toMatchObject({ exitCode: 2 })
  }
  expect(existsSync(socket)).toBe(false)
})

test('what is no key is refused', async () => {
  using undo = new DisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'slipway-agent-'))
  undo.defer(() => rmSync(folder, { recursive: true }))
  const attempt = openSshAgent(join(folder, 'agent'), 'no key')
  await expect(attempt).rejects.toMatchObject({ code: 'host.command-failed' })
})
