import { readFile } from 'node:fs/promises'

/** One line of /proc/self/mountinfo (man 5 proc_pid_mountinfo). */
export interface Mount {
  id: number
  parentId: number
  /** `major:minor`, of the filesystem. */
  device: string
  /** What of the filesystem is mounted: `/`, or a folder in it. */
  root: string
  target: string
  type: string
  source: string
  /** Options of the filesystem itself, as the kernel prints them. */
  options: string
}

/** Every mount this process sees, in the order in which they were attached. */
export async function readMounts(): Promise<Mount[]> {
  return parseMounts(await readFile('/proc/self/mountinfo', 'utf8'))
}

export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap(line => {
    const [before = '', after] = line.split(' - ')
    const [id, parentId, device, root, target] = before.split(' ')
    const [type, source, options] = after?.split(' ') ?? []
    if (target === undefined || type === undefined) return []
    const names = {
      root: unescaped(root ?? ''),
      target: unescaped(target),
      type: unescaped(type),
      source: unescaped(source ?? ''),
    }
    return [{ id: Number(id), parentId: Number(parentId), device: device ?? '', ...names, options: options ?? '' }]
  })
}

/** The kernel writes space, tab, newline, `#` and backslash of names as three octal digits. */
function unescaped(text: string): string {
  if (!text.includes('\\')) return text
  const bytes = Buffer.from(text).toString('latin1')
  const plain = bytes.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8)))
  return Buffer.from(plain, 'latin1').toString()
}
