# cmake --install: the program, one shared library, the public headers, the demo model, and the package
# files with which another project finds them: find_package(easel) and easel::easel.
include(CMakePackageConfigHelpers)

set(public_headers)
file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/easel/*.h)
list(APPEND public_headers ${headers} ${PROJECT_BINARY_DIR}/include/easel/version.h)

# The rooms that the public headers declare go in whole, the others as far as they are used. What they need of other
# libraries stays inside, so users link nothing else.
add_library(easel_library SHARED $<TARGET_OBJECTS:easel_base> $<TARGET_OBJECTS:easel_tensor>
            $<TARGET_OBJECTS:easel_pipelines>)
target_link_libraries(easel_library PRIVATE easel_options easel_pipelines)
target_sources(easel_library PUBLIC FILE_SET HEADERS
  BASE_DIRS ${PROJECT_SOURCE_DIR}/include ${PROJECT_BINARY_DIR}/include FILES ${public_headers})
set_target_properties(easel_library PROPERTIES OUTPUT_NAME easel EXPORT_NAME easel
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib VERIFY_INTERFACE_HEADER_SETS ON)
target_compile_features(easel_library PUBLIC cxx_std_20)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/easel)
install(TARGETS easel RUNTIME)
install(TARGETS easel_library EXPORT easel LIBRARY FILE_SET HEADERS)
install(EXPORT easel NAMESPACE easel:: FILE easelConfig.cmake DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/easelConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/easelConfigVersion.cmake DESTINATION ${package_dir})
# Where the program looks for it: ../share/easel/demo.
install(DIRECTORY ${PROJECT_SOURCE_DIR}/demo/model/ DESTINATION share/easel/demo)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/easel)

# Every header by itself, each compiled as the first thing in a file of its own: `ninja easel_headers`.
file(GLOB_RECURSE internal CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/src/*.h)
# Only for units of one instruction set, or for tests.
list(FILTER internal EXCLUDE REGEX "^ops/simd.*\\.h$|_test\\.h$|/test_[a-z_]+\\.h$|^ops/harness")
set(units)
foreach(header ${internal})
  string(REGEX REPLACE "[/.]" "_" unit ${header})
  set(unit ${PROJECT_BINARY_DIR}/headers/${unit}.cpp)
  file(CONFIGURE OUTPUT ${unit} CONTENT "#include \"${header}\"\n#include \"${header}\"  // guarded\n" @ONLY)
  list(APPEND units ${unit})
endforeach()
add_library(easel_headers OBJECT EXCLUDE_FROM_ALL ${units})
target_link_libraries(easel_headers PRIVATE easel_options easel_cli)
target_compile_options(easel_headers PRIVATE -fsyntax-only)
