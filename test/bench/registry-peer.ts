import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { waitUntil } from '#infra/local/processes.ts'
import { freePort } from '#test/support/slipway.ts'

const execute = promisify(execFile)
const PROGRAM = '/usr/bin/docker-registry'

/** Debian's docker-registry (CNCF Distribution) on loopback, its blobs in a folder, without authentication. */
export interface RegistryPeer extends AsyncDisposable {
  host: string
  pid: number
}

export async function startRegistryPeer(): Promise<RegistryPeer> {
  if (!existsSync(PROGRAM)) {
    await execute('apt-get', ['install', '-y', '--no-install-recommends', 'docker-registry', 'skopeo'], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    })
  }
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp('/var/tmp/slipway-bench-registry-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const host = `127.0.0.1:${await freePort()}`
  const config = join(folder, 'config.json') // YAML, of which JSON is a part.
  const storage = { filesystem: { rootdirectory: join(folder, 'data') } }
  await writeFile(config, JSON.stringify({ version: '0.1', storage, http: { addr: host } }))
  const log = await open(join(folder, 'log'), 'a')
  const child = spawn(PROGRAM, ['serve', config], { stdio: ['ignore', log.fd, log.fd] })
  undo.defer(async () => {
    child.kill('SIGTERM')
    if (child.exitCode === null) await once(child, 'close')
    await log.close()
  })
  const isUp = () =>
    fetch(`http://${host}/v2/`).then(
      response => response.ok,
      () => false,
    )
  if (child.pid === undefined || !(await waitUntil(isUp, 20_000))) throw new Error('docker-registry did not start')
  const started = undo.move()
  return { host, pid: child.pid, [Symbol.asyncDispose]: () => started.disposeAsync() }
}
