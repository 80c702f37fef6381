/** A repository as ADD and contexts name it (Dockerfile reference, "Adding files from a Git repository"). */
export interface GitSource {
  /** As git takes it. */
  remote: string
  /** A branch, tag or commit; undefined is what the repository's HEAD is. */
  ref: string | undefined
  /** A folder inside; the empty text is the whole. */
  folder: string
}

const SCP_STYLE = /^[\w-]+@[\w.-]+:(?!\/\/)[^#]+/

/** Undefined for what is no repository. Addresses over http(s) are one when their path ends in `.git`. Pure. */
export function gitSource(text: string): GitSource | undefined {
  const hash = text.indexOf('#')
  const address = hash < 0 ? text : text.slice(0, hash)
  const [ref = '', folder = ''] = (hash < 0 ? '' : text.slice(hash + 1)).split(':', 2)
  const found = repositoryOf(address)
  if (!found) return undefined
  return { ...found, ...(ref === '' ? {} : { ref }), ...(folder === '' ? {} : { folder }) }
}

function repositoryOf(address: string): GitSource | undefined {
  if (SCP_STYLE.test(address)) return { remote: address, ref: undefined, folder: '' }
  const url = URL.parse(/^github\.com\//.test(address) ? `https://${address}` : address)
  if (!url || !['http:', 'https:', 'git:', 'ssh:'].includes(url.protocol)) return undefined
  if (/^https?:$/.test(url.protocol) && !address.startsWith('github.com/') && !url.pathname.endsWith('.git')) {
    return undefined
  }
  const asked = (names: string[]) => names.map(name => url.searchParams.get(name) ?? undefined).find(Boolean)
  const ref = asked(['ref', 'branch', 'tag', 'commit'])
  const folder = asked(['subdir']) ?? ''
  url.search = ''
  return { remote: url.href, ref, folder }
}

export function isHttpUrl(text: string): boolean {
  return /^https?:\/\//i.test(text) && URL.canParse(text)
}

/** The name that a file of this address gets in a folder; undefined where its path ends in none. Pure. */
export function fileNameOf(url: string): string | undefined {
  const name = new URL(url).pathname.split('/').at(-1) ?? ''
  try {
    const decoded = decodeURIComponent(name)
    return decoded === '' || decoded.includes('/') || decoded === '.' || decoded === '..' ? undefined : decoded
  } catch {
    return name || undefined
  }
}
