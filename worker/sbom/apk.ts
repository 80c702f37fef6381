import type { Package } from './package.ts'
import type { RootFiles } from './root-files.ts'
import { linesOf } from './stanzas.ts'

/** Alpine before 3.23 or so, and after. */
const DATABASES = ['/lib/apk/db/installed', '/usr/lib/apk/db/installed']

/** Packages that apk has installed (apk's "Installed Database V2": fields of one letter, an empty line between packages). */
export async function apkPackages(files: RootFiles): Promise<Package[]> {
  for (const path of DATABASES) {
    const text = await files.text(path)
    if (text !== undefined) return packagesOf(files, path, text)
  }
  return []
}

function packagesOf(files: RootFiles, path: string, text: string): Package[] {
  const found: Package[] = []
  let broken = 0
  let fields = new Map<string, string>()
  const end = () => {
    const [name, version] = [fields.get('P'), fields.get('V')]
    if (name && version) found.push(packageOf(fields, name, version))
    else if (fields.size > 0) broken++
    fields = new Map()
  }
  for (const line of linesOf(text)) {
    if (line === '') end()
    else if (line[1] === ':' && !fields.has(line[0] ?? '')) fields.set(line[0] ?? '', line.slice(2))
  }
  end()
  if (broken > 0) files.warn(path, `${broken} of its paragraphs have no package and version`)
  return found
}

function packageOf(fields: ReadonlyMap<string, string>, name: string, version: string): Package {
  const source = fields.get('o')
  return {
    ...{ type: 'apk', name, version, architecture: fields.get('A'), license: fields.get('L') },
    ...{ supplier: fields.get('m'), homepage: fields.get('U'), source: source === name ? undefined : source },
  }
}
