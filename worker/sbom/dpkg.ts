import type { Package } from './package.ts'
import { filesOf } from './package-files.ts'
import type { RootFiles } from './root-files.ts'
import { stanzasOf } from './stanzas.ts'

const STATUS = '/var/lib/dpkg/status'
/** Distroless images have a file a package. */
const STATUS_FOLDER = '/var/lib/dpkg/status.d'

/** Packages that dpkg has installed (deb-control(5), dpkg-query(1)). */
export async function dpkgPackages(files: RootFiles): Promise<Package[]> {
  const single = filesOf(files, STATUS_FOLDER).filter(path => !path.endsWith('.md5sums'))
  const found: Package[] = []
  for (const path of [STATUS, ...single]) {
    const text = await files.text(path)
    if (text !== undefined) found.push(...packagesOf(files, path, text))
  }
  return found
}

function packagesOf(files: RootFiles, path: string, text: string): Package[] {
  const found: Package[] = []
  let broken = 0
  for (const stanza of stanzasOf(text)) {
    const [name, version] = [stanza.get('package'), stanza.get('version')]
    const status = stanza.get('status')
    if (status !== undefined && !status.endsWith(' installed')) continue
    if (!name || !version) {
      broken++
      continue
    }
    const [source] = (stanza.get('source') ?? '').split(' ')
    found.push({
      ...{ type: 'deb', name, version, architecture: stanza.get('architecture'), source: source || undefined },
      ...{ supplier: stanza.get('maintainer'), homepage: stanza.get('homepage') },
    })
  }
  if (broken > 0) files.warn(path, `${broken} of its paragraphs have no package and version`)
  return found
}
