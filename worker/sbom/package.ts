/** A package as its database has it. */
export interface Package {
  type: 'deb' | 'apk' | 'rpm' | 'npm' | 'pypi'
  name: string
  version: string
  architecture?: string | undefined
  /** As it was declared, in whatever words. */
  license?: string | undefined
  /** Who answers for it: `Name <address>`. */
  supplier?: string | undefined
  homepage?: string | undefined
  /** The source package, where it is called otherwise. */
  source?: string | undefined
  /** rpm's. */
  epoch?: number | undefined
}

/** The image's distribution, of os-release(5). */
export interface Distribution {
  id: string
  version: string | undefined
  /** For people. */
  name: string
}

export interface Found {
  packages: Package[]
  /** Whole sentences on what could not be read. */
  warnings: string[]
}
