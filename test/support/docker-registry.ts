import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { supervise, waitUntil } from '#infra/local/processes.ts'
import { freePort } from './slipway.ts'

/** Debian's docker-registry, the reference implementation, on loopback; its user is asked for by Basic authentication. */
export interface DockerRegistry extends AsyncDisposable {
  url: string
  username: string
  password: string
}

const USER = { username: 'reader', password: 'a-password-of-no-worth' }
/** bcrypt of that password. */
const HASH = '$2y$05$abcdefghijklmnopqrstuuJramDx4.hgEpa3r5FplrtCrw2rKscWa'

export async function bootDockerRegistry(): Promise<DockerRegistry> {
  await using undo = new AsyncDisposableStack()
  const folder = mkdtempSync('/var/tmp/slipway-docker-registry-')
  undo.defer(() => rmSync(folder, { recursive: true, force: true }))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  writeFileSync(join(folder, 'users'), `${USER.username}:${HASH}\n`)
  const config = {
    version: '0.1',
    storage: { filesystem: { rootdirectory: join(folder, 'data') } },
    http: { addr: `127.0.0.1:${port}` },
    auth: { htpasswd: { realm: 'test', path: join(folder, 'users') } },
  }
  writeFileSync(join(folder, 'config.yml'), JSON.stringify(config)) // JSON is YAML.
  const args = ['serve', join(folder, 'config.yml')]
  const options = { name: 'docker-registry', command: 'docker-registry', args, logPath: join(folder, 'log') }
  undo.use(supervise(options, () => {}))
  const isUp = () =>
    fetch(`${url}/v2/`).then(
      response => response.status === 401,
      () => false,
    )
  if (!(await waitUntil(isUp, 30_000))) throw new Error('docker-registry did not start')
  const started = undo.move()
  return { url, ...USER, [Symbol.asyncDispose]: () => started.disposeAsync() }
}
