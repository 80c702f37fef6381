import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitUntil } from '#infra/local/processes.ts'
import { commitAll } from './git-server.ts'
import { freePort } from './slipway.ts'

export interface SshGit extends AsyncDisposable {
  /** The private key that is let in. */
  key: string
  /** The server's own key, as a line of known_hosts(5). */
  knownHosts: string
  repository(name: string, script: string): string
  urlOf(name: string): string
}

/** Debian's sshd on the loopback, which lets one key run git and nothing else. Needs root, whom it logs in as. */
export async function openSshGit(): Promise<SshGit> {
  await using undo = new AsyncDisposableStack()
  const root = mkdtempSync(join(tmpdir(), 'slipway-ssh-'))
  undo.defer(() => rmSync(root, { recursive: true, force: true }))
  if (!existsSync('/run/sshd')) {
    mkdirSync('/run/sshd', { mode: 0o755 })
    undo.defer(() => rmdirSync('/run/sshd'))
  }
  const [host, client] = [makeKey(join(root, 'host')), makeKey(join(root, 'client'))]
  const command = `cd ${join(root, 'bare')} && exec git shell -c "$(printf %s "$SSH_ORIGINAL_COMMAND" | sed "s,'/,'${join(root, 'bare')}/,")"`
  writeFileSync(join(root, 'shell'), `#!/bin/sh\n${command}\n`, { mode: 0o755 })
  writeFileSync(join(root, 'keys'), `command="${join(root, 'shell')}",restrict ${client.publicKey}\n`, { mode: 0o600 })
  const port = await freePort()
  const settings = [
    ...[
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${join(root, 'host')}`,
      `AuthorizedKeysFile ${join(root, 'keys')}`,
    ],
    ...[
      'PasswordAuthentication no',
      'PermitRootLogin prohibit-password',
      'StrictModes no',
      'UsePAM no',
      'PidFile none',
    ],
  ]
  writeFileSync(join(root, 'config'), `${settings.join('\n')}\n`)
  const daemon = spawn('/usr/sbin/sshd', ['-D', '-f', join(root, 'config'), '-E', join(root, 'log')], {
    stdio: 'ignore',
  })
  const ended = new Promise(resolve => daemon.once('exit', resolve))
  undo.defer(async () => {
    daemon.kill('SIGKILL')
    await ended
  })
  if (!(await waitUntil(() => isOpen(port), 10_000)))
    throw new Error(`sshd: ${readFileSync(join(root, 'log'), 'utf8')}`)
  const opened = undo.move()
  return {
    ...{ key: client.key, knownHosts: `[127.0.0.1]:${port} ${host.publicKey}\n` },
    repository: (name, script) => commitAll(root, name, script),
    urlOf: name => `ssh://root@127.0.0.1:${port}/${name}.git`,
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

export interface Key {
  key: string
  publicKey: string
}

/** A key that nobody knows. */
export async function openKey(): Promise<Key> {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-key-'))
  try {
    return makeKey(join(folder, 'key'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function makeKey(path: string): Key {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', path])
  const publicKey = readFileSync(`${path}.pub`, 'utf8').trim().split(' ').slice(0, 2).join(' ')
  return { key: readFileSync(path, 'utf8'), publicKey }
}

function isOpen(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  return new Promise(resolve => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
  }).finally(() => socket.destroy()) as Promise<boolean>
}
