import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, existsSync } from 'node:fs'
import { copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { ownAddress } from '#test/support/own-address.ts'

const execute = promisify(execFile)
const OUTPUT_LIMIT = 64 * 1024 ** 2

/** What the benchmark's image installs: about 50 packages. */
export const APT_PACKAGES = 'gcc libc6-dev make curl'

export interface AptRepository extends AsyncDisposable {
  /** For `deb [trusted=yes] URL ./`, on an address of this machine that is not its loopback. */
  url: string
}

/**
 * Debian's packages served from this machine, so that no mirror's mood is measured. `folder` keeps them from run to run;
 * they are fetched once by the apt-get of `rootfsTarGz`.
 */
export async function openAptRepository(folder: string, rootfsTarGz: string): Promise<AptRepository> {
  if (!existsSync(join(folder, 'Packages'))) await fill(folder, rootfsTarGz)
  const server = createServer((request, response) => {
    const path = join(folder, basename(decodeURIComponent(request.url ?? '')))
    createReadStream(path)
      .on('error', () => response.writeHead(404).end())
      .pipe(response)
  })
  server.listen(0, '0.0.0.0')
  await once(server, 'listening')
  const bound = server.address()
  const port = bound !== null && typeof bound === 'object' ? bound.port : 0
  return {
    url: `http://${ownAddress()}:${port}/`,
    [Symbol.asyncDispose]: async () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function fill(folder: string, rootfsTarGz: string): Promise<void> {
  const root = await mkdtemp('/var/tmp/slipway-bench-apt-')
  const part = `${folder}.part`
  try {
    await execute('tar', ['-xzf', rootfsTarGz, '-C', root])
    await copyFile('/etc/resolv.conf', join(root, 'etc/resolv.conf'))
    const apt = (...args: string[]) => execute('chroot', [root, 'apt-get', ...args], { maxBuffer: OUTPUT_LIMIT })
    await apt('update')
    await apt('install', '-y', '--download-only', '--no-install-recommends', ...APT_PACKAGES.split(' '))
    await rm(part, { recursive: true, force: true })
    await mkdir(part, { recursive: true })
    const archives = join(root, 'var/cache/apt/archives')
    const names = (await readdir(archives)).filter(name => name.endsWith('.deb'))
    for (const name of names) await copyFile(join(archives, name), join(part, name.replaceAll('%3a', '_')))
    await writeFile(join(part, 'Packages'), await indexOf(part))
    await rename(part, folder)
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

/** Debian's repository format, "Packages indices". */
async function indexOf(folder: string): Promise<string> {
  const entries: string[] = []
  for (const name of (await readdir(folder)).sort()) {
    const path = join(folder, name)
    const { stdout: control } = await execute('dpkg-deb', ['--field', path])
    const sum = createHash('sha256')
      .update(await readFile(path))
      .digest('hex')
    entries.push(`${control.trimEnd()}\nFilename: ./${name}\nSize: ${(await stat(path)).size}\nSHA256: ${sum}\n`)
  }
  return entries.join('\n')
}
