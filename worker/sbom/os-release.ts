import type { Distribution } from './package.ts'
import type { RootFiles } from './root-files.ts'
import { linesOf } from './stanzas.ts'

/** os-release(5): the first that is there counts. */
const PATHS = ['/etc/os-release', '/usr/lib/os-release']
const ID = /^[a-z0-9._-]{1,64}$/

export async function distributionOf(files: RootFiles): Promise<Distribution | undefined> {
  for (const path of PATHS) {
    const text = await files.text(path)
    if (text === undefined) continue
    const fields = new Map([...linesOf(text)].map(line => assignment(line)))
    const id = fields.get('ID') ?? 'linux'
    const version = fields.get('VERSION_ID') || undefined
    return ID.test(id) ? { id, version, name: (fields.get('PRETTY_NAME') ?? id).slice(0, 200) } : undefined
  }
  return undefined
}

/** Of shell's assignments those that os-release allows: quotes around, and a backslash before what is special. */
function assignment(line: string): [string, string] {
  const [, name = '', , quoted, plain = ''] = /^([A-Z0-9_]+)=(?:(["'])(.*)\2|(.*))$/.exec(line.trim()) ?? []
  return [name, (quoted ?? plain).replace(/\\([$"'\\`])/g, '$1')]
}
