# Install from this folder alone:  .\install.ps1 [TARGET]   (default .\mtclip)
param([string]$Target = "mtclip")
$ErrorActionPreference = "Stop"
$here = $PSScriptRoot
python -m venv $Target
$wheel = (Get-ChildItem "$here\wheels\mtclip_edge-*.whl").FullName
& "$Target\Scripts\python" -m pip install --quiet --no-index --find-links "$here\wheels" "${wheel}[cpu]"
if ($LASTEXITCODE) { exit $LASTEXITCODE }
Write-Host "installed: $Target\Scripts\mtclip.exe"
