import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { ownAddress } from './own-address.ts'
import { freePort } from './slipway.ts'

/** Files and a repository that builds can fetch, at an address of this machine that is not its loopback. */
export interface FetchSources extends AsyncDisposable {
  url: string
  /** Over git's own protocol. */
  gitUrl: string
  /** A private key of the moment. */
  sshKey: string
}

const MAKE = `
mkdir -p files/dir; cd files
echo hello > dir/hello.txt
echo in > inside; tar --owner=0 --group=0 -czf t.tar.gz inside; rm inside
git init -q -b main ../work; cd ../work
git config user.email a@b; git config user.name a
echo top > top.txt; git add .; git commit -qm one
git checkout -q -b side; mkdir sub; echo side > sub/s.txt; git add .; git commit -qm two; git checkout -q main
git clone -q --bare . ../files/r.git; cd ../files/r.git; git update-server-info
ssh-keygen -q -t ed25519 -N '' -f ../../key
`

export async function openFetchSources(folder: string): Promise<FetchSources> {
  mkdirSync(folder, { recursive: true })
  execFileSync('bash', ['-ec', `umask 022; ${MAKE}`], { cwd: folder })
  const address = ownAddress()
  const files = join(folder, 'files')
  const server = createServer((request, response) => {
    const path = join(files, decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname))
    if (request.url === '/redirect') return response.writeHead(302, { location: '/dir/hello.txt' }).end()
    if (!existsSync(path) || !statSync(path).isFile()) return response.writeHead(404).end('nothing here')
    return response.end(readFileSync(path))
  })
  server.listen(0, '0.0.0.0')
  await once(server, 'listening')
  const bound = server.address()
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0
  const gitPort = await freePort('0.0.0.0')
  const options = ['--export-all', '--reuseaddr', '--informative-errors', `--base-path=${files}`, `--port=${gitPort}`]
  const daemon = spawn('git', ['daemon', '--verbose', ...options], { stdio: ['ignore', 'ignore', 'pipe'] })
  await once(daemon.stderr, 'data')
  return {
    url: `http://${address}:${port}`,
    gitUrl: `git://${address}:${gitPort}/r.git`,
    sshKey: readFileSync(join(folder, 'key'), 'utf8'),
    [Symbol.asyncDispose]: async () => {
      const ended = once(daemon, 'close')
      daemon.kill()
      await ended
      server.close()
      server.closeAllConnections()
    },
  }
}
